"""Codes of requests that cannot be read."""

from collections.abc import Mapping
from typing import Final

from api.problem_kinds.kind import Kind, kind

READING: Final[Mapping[str, Kind]] = {
    "malformed-request": kind(
        400,
        "Malformed request",
        "The request cannot be understood.",
        "The request is not HTTP/1.1 as it must be, a form cannot be read, or two kinds of credentials came at once.",
        "Send it by an HTTP library, with an access token or an API key but not both.",
    ),
    "malformed-header": kind(
        400,
        "Malformed header",
        "A header does not have the form it must have.",
        "A header such as `If-Match`, `Idempotency-Key` or `Consistency-Token` is not in its form, or is there twice.",
        "The detail names the header. Send it once, exactly as an earlier answer gave it or as the docs write it.",
    ),
    "malformed-json": kind(
        400,
        "Malformed JSON",
        "The body is not strict JSON.",
        "The body is no JSON, or has a key twice, NaN, a lone surrogate, an integer beyond 64 bit, 32 levels, or more "
        "than a thousand commas and brackets.",
        "Write the body by a JSON library, in UTF-8. The detail says where it breaks.",
    ),
    "unexpected-body": kind(
        400,
        "Unexpected body",
        "This route takes no body.",
        "A body came with a request that has none, such as a GET.",
        "Leave the body out, and put filters into the query.",
    ),
    "request-timeout": kind(
        408,
        "Request timeout",
        "The request did not arrive in time.",
        "The head or the body took longer to arrive than it may.",
        "Send it again over a better line. Under the same `Idempotency-Key` nothing is done twice.",
    ),
    "content-too-large": kind(
        413,
        "Content too large",
        "The body is larger than this route allows.",
        "The body is above the route's limit, which its description says: 1 MiB where it says nothing else.",
        "Send less at once. Many products go into one import, of up to 100 MiB.",
    ),
    "uri-too-long": kind(
        414,
        "URI too long",
        "The target of the request is too long.",
        "Path and query together have more than 8 KiB.",
        "Ask with fewer or shorter filters.",
    ),
    "unsupported-media-type": kind(
        415,
        "Unsupported media type",
        "This route does not take that kind of body.",
        "`Content-Type` is none that the route takes, or the body came compressed.",
        "Name one of the media types of the route's description, with UTF-8 and without `Content-Encoding`.",
    ),
    "headers-too-large": kind(
        431,
        "Headers too large",
        "The headers are larger than allowed.",
        "The headers have more than 32 KiB together, or are more than 128.",
        "Send fewer or shorter headers; often it is a cookie that nobody reads here.",
    ),
    "not-implemented": kind(
        501,
        "Not implemented",
        "This server knows no such method or transfer coding.",
        "The method is none of HTTP's, or the body comes in a transfer coding other than `chunked`.",
        "Use the methods of the API's description.",
    ),
    "version-not-supported": kind(
        505,
        "HTTP version not supported",
        "This server speaks HTTP/1.1.",
        "The request names a version of HTTP other than 1.0 or 1.1.",
        "Speak HTTP/1.1 with this server; a proxy before it may speak others.",
    ),
    "invalid": kind(
        422,
        "Invalid",
        "Some fields are not acceptable.",
        "A field of the body, the path or the query is missing, unknown, of another type or out of its bounds.",
        "`errors` has each of them with its JSON pointer, a code and a sentence. Mend them and send it again.",
    ),
}
