"""Headers of requests and answers, as the document tells of them."""

from collections.abc import Iterable
from typing import Any, Final

Node = dict[str, Any]


def _told(description: str) -> Node:
    return {"description": description, "schema": {"type": "string"}}


def _parameter(name: str, description: str, **schema: Any) -> Node:
    told = {"description": description, "schema": {"type": "string", **schema}}
    return {"name": name, "in": "header", "required": False, **told}


HEADERS: Final[dict[str, Node]] = {
    "Location": _told("Where it is."),
    "Link": _told(
        'The next page, as `<…>; rel="next"`; it is left out at the end. Of a deprecated route, what to use instead, as'
        ' `<…>; rel="deprecation"`.'
    ),
    "Deprecation": _told("Since when the route is deprecated, as `@` and the seconds since 1970 (RFC 9745)."),
    "Sunset": _told("Until when it is there at least, in the form of `Date` (RFC 8594)."),
    "ETag": _told(
        "The version, in quotes, with more behind it where a document is read: what `If-Match` takes. Of a page of a"
        " list, what `If-None-Match` takes."
    ),
    "Consistency-Token": _told("Send it with a read that must include this write."),
    "Idempotency-Replayed": _told("`true` if this is the answer of an earlier request with the same key."),
    "Accept": _told("The media types that this route takes."),
    "Accept-Encoding": _told("`identity`, where a body came encoded: it is to come as it is."),
    "WWW-Authenticate": _told("How to authenticate, and what is wrong (RFC 6750)."),
    "Retry-After": _told("Seconds until it is worth another try."),
    "RateLimit-Policy": _told("The rates that hold here: `q` requests in `w` seconds."),
    "RateLimit": _told("The scarcest of them: `r` requests left, all of them again in `t` seconds."),
}
"""Of answers."""

PARAMETERS: Final[dict[str, Node]] = {
    "Idempotency-Key": _parameter(
        "Idempotency-Key",
        "Repeating it within a day gives the first answer again. Another request under it is refused, and so is one"
        " while the first still runs. It belongs to the account; before there is one, to the email that is given."
        " Passwords are no part of what is compared, but where one becomes the account's.",
        minLength=1,
        maxLength=255,
        pattern="^[!-~]+$",
    ),
    "If-Match": _parameter(
        "If-Match", "Only if the thing is at this version.", pattern='^"[1-9][0-9]{0,17}(-[0-9]{1,18})?(-gz)?"$'
    ),
    "Consistency-Token": _parameter(
        "Consistency-Token",
        "The answer includes the write whose receipt carried it.",
        minLength=1,
        maxLength=1024,
        pattern="^[!-~]+$",
    ),
    "Prefer": _parameter("Prefer", "`wait=<seconds>`: how long to wait for that write, at most 10."),
    "If-None-Match": _parameter("If-None-Match", "304 if it still has this ETag."),
}
"""Of requests."""


def answered(names: Iterable[str]) -> Node:
    """Where these headers of an answer are told of."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def asked(names: Iterable[str]) -> list[Node]:
    """Where these headers of a request are told of."""
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]
