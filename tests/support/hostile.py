"""Requests that no well-behaved client sends: odd texts, deep and huge values, any bytes, headers of all kinds."""

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_from_bytes

from hypothesis import strategies as st

from tests.support.openapi import Operation

TEXTS: Final[Sequence[str]] = (
    "",
    " ",
    "\0",
    "\x7f\x1b[2J",
    "\ufeff",
    "\u202e\u2066reversed\u2069",
    "\u200b\u2060\u00ad",
    "e" + "\u0301" * 2_000,
    "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 300,
    "\U000e0001\U0010ffff\ufffe",
    "\ufdfa" * 500,
    "\u0130\u1e9e\ufb03\u03c2\u0345",
    "\uff11\u0661\u0967\u00b2",
    "\u2028\u2029\u0085",
    "-0",
    "1e400",
    "NaN",
    "9" * 5_000,
    "0." + "0" * 400 + "1",
    "9999-12-31T23:59:59.999999999-23:59",
    "0000-00-00T00:00:00Z",
    "2026-02-30T25:61:61+99:99",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "'\";--\\",
    "%s%n{}${jndi:x}{{7*7}}",
    "../../../etc/passwd",
    "\r\nX-Injected: 1",
    "a" * 70_000,
    "\u00e4" * 3_000,
    '"' * 300,
    "( & | ! <-> :* )",
    "-" * 300,
    "x@" + "a." * 120 + "de",
)
TOKENS: Final[Sequence[bytes]] = (
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"-0",
    b"-0.0",
    b"1.0",
    b"0.1000000000000000055511151231257827",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"1" + b"0" * 5_000,
    b"1." + b"0" * 5_000 + b"1",
    b"NaN",
    b"Infinity",
    b"null",
    b"true",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'{"a": 1, "a": 2}',
    b'{"\\u0061": 1, "a": 2}',
    b'{"__proto__": {}, "": null}',
    b"[" + b"0," * 20_000 + b"0]",
    b"{" + b",".join(b'"k%d":0' % n for n in range(5_000)) + b"}",
    b"",
    b",",
)
MEDIA: Final[Sequence[str]] = (
    "",
    "application/json",
    "APPLICATION/JSON; charset=UTF-8",
    'application/json;charset="utf-16"',
    "application/json, text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/csv",
    "application/x-ndjson",
    "image/png",
    "image/*",
    "text/plain;" * 500,
    "\u00e4/\u00f6",
)
HEADERS: Final[Mapping[str, Sequence[str]]] = {
    "Accept": ("", "*/*", "text/event-stream", "image/webp;q=9", ",;q=,", "\u00ff" * 100),
    "Accept-Encoding": ("gzip", "gzip;q=abc", "*;q=0, identity;q=0", "gzip;q=1e400", ",", "br" * 1_000),
    "Accept-Language": ("de", "x-" * 2_000, "de;q=NaN", "*" * 100, "\u00ff", ",;=,"),
    "Authorization": ("Bearer ", "Bearer x.y.z", "Basic Og==", "bearer\tx", "Bearer " + "A" * 20_000, "\u00e9"),
    "X-API-Key": ("", "weir_", "k" * 20_000, "\u00ff"),
    "Consistency-Token": ("", "x", "=" * 1_024, "A" * 1_025, "\u00e4"),
    "Content-Encoding": ("identity", "gzip", "gzip, gzip", ""),
    "Content-Length": ("0", "-1", "+1", "1e3", "\u00b2", "99999999999999999999", "0x10", ""),
    "Cookie": ("a=b", "=;=;", "\u00ff=" * 200, "a" * 5_000),
    "Connection": ("close", "upgrade", "keep-alive, close", "host, content-type", ""),
    "Expect": ("100-continue", "200-ok", ""),
    "Forwarded": ("for=_x", "for=" + "1" * 3_000),
    "Host": ("", "a:b", "a:99999", "[::1]", "x" * 400, "a/b", "\u00e4"),
    "Idempotency-Key": ("", " ", "k", "k" * 256, "\u00e4", "a b"),
    "If-Match": ("*", '"1"', '"0"', 'W/"1"', '"1", "2"', '"99999999999999999999"', '"' * 200, ""),
    "If-None-Match": ("*", '"1"', 'W/"1-gz"', ",", '"' * 300, "\u00ff" * 50, '"a", ' * 500),
    "Origin": ("null", "http://\u00e4", "https://" + "x" * 3_000),
    "Prefer": ("wait=0", "wait=-1", "wait=1e400", "wait=" + "9" * 400, "=,;", "\u00ff"),
    "Range": ("bytes=0-0", "bytes=9-1", "bytes=" + "0-0," * 500),
    "TE": ("trailers", "gzip;q=x"),
    "Traceparent": ("00-0-0-0", "\u00ff", "f" * 3_000),
    "Transfer-Encoding": ("chunked", "gzip", "gzip, chunked", "chunked, chunked", "identity", ""),
    "Upgrade": ("h2c", "websocket", "TLS/1.0"),
    "X-Forwarded-For": ("1.2.3.4", "::", "x," * 500),
    "X-HTTP-Method-Override": ("DELETE",),
    "X-Request-ID": ("", "a b", "x" * 129, "\u00e4"),
    "X-Filler": ("y" * 33_000, "y" * 70_000),
    "webhook-signature": ("", "v1,", "v1," + "A" * 3_000, "v2,x v1,\u00e4", "v1,=== " * 50),
    "webhook-timestamp": ("", "-1", "1e400", "9" * 400, "\u0661"),
    "webhook-id": ("", "\u00ff", "x" * 3_000),
}
_HOLE: Final = "a hole in the document"


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request as it goes on the line. ``chunked``: its body goes in chunks, without a length."""

    method: str
    target: bytes
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    chunked: bool = False
    _defaults: Mapping[str, str] = field(default_factory=lambda: {"Host": "t"})

    def encoded(self) -> bytes:
        """The bytes. What it says of itself stands before what is so; nothing is said twice by this alone."""
        told = {name.lower() for name, _ in self.headers}
        pairs = [pair for pair in self._defaults.items() if pair[0].lower() not in told]
        body = self.body or b""
        if self.chunked:
            pairs += [] if "transfer-encoding" in told else [("Transfer-Encoding", "chunked")]
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif self.body is not None and "content-length" not in told:
            pairs.append(("Content-Length", str(len(body))))
        lines = [f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in (*pairs, *self.headers)]
        return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (self.method.encode(), self.target, b"".join(lines), body)


def texts() -> st.SearchStrategy[str]:
    """Odd ones, and any."""
    return st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def deep() -> st.SearchStrategy[bytes]:
    """Lists in lists, or objects in objects."""
    levels = st.integers(20, 2_000)
    return levels.map(lambda n: b"[" * n + b"]" * n) | levels.map(lambda n: b'{"a":' * n + b"1" + b"}" * n)


def values() -> st.SearchStrategy[bytes]:
    """One JSON value, or what is none."""
    written = texts().map(lambda text: json.dumps(text).encode())
    raw = texts().map(lambda text: json.dumps(text, ensure_ascii=False).encode())
    return st.sampled_from(TOKENS) | written | raw | deep()


def places(document: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value of a JSON document, its own first."""
    yield way
    if isinstance(document, dict | list):
        for step, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(value, (*way, step))


def with_value(document: Any, way: Sequence[Any], value: bytes) -> bytes:
    """The document as JSON, with another value at a place."""
    return json.dumps(_holed(document, way)).encode().replace(json.dumps(_HOLE).encode(), value)


def _holed(document: Any, way: Sequence[Any]) -> Any:
    if not way:
        return _HOLE
    step, *rest = way
    if isinstance(document, dict):
        return {**document, step: _holed(document[step], rest)}
    return [_holed(each, rest) if at == step else each for at, each in enumerate(document)]


@st.composite
def spoilt(draw: st.DrawFn, document: Any) -> bytes:
    """The document with one value that should not be there."""
    return with_value(document, draw(st.sampled_from(list(places(document)))), draw(values()))


@st.composite
def objects(draw: st.DrawFn, names: Sequence[str]) -> bytes:
    """An object of some of these names, and of others."""
    known = st.sampled_from(names) if names else st.nothing()
    members = draw(st.lists(st.tuples(known | texts(), values()), max_size=5))
    return b"{%b}" % b",".join([b"%b:%b" % (json.dumps(name).encode(), value) for name, value in members])


def bodies(operation: Operation) -> st.SearchStrategy[bytes | None]:
    """Nothing, any bytes, any value, or an object with the fields that the operation knows."""
    fields = operation.fields()
    form = st.lists(st.tuples(st.sampled_from(fields or ["x"]), texts()), max_size=4).map(_form)
    return st.none() | st.binary(max_size=200) | values() | objects(fields) | objects(fields) | form


def _form(pairs: Sequence[tuple[str, str]]) -> bytes:
    return "&".join([f"{name}={_quoted(value)}" for name, value in pairs]).encode()


def _quoted(text: str) -> str:
    return quote_from_bytes(text.encode("utf-8"), safe="")


PARTS: Final = ("path", "query", "headers", "body", "media")


@st.composite
def requests(draw: st.DrawFn, operation: Operation, ids: Mapping[str, str]) -> Sent:
    """A request to the operation of which one part or two are odd: with more, most would end at the first door.

    ``ids`` are things that there are, by the names of the parameters in paths.
    """
    odd = draw(st.sets(st.sampled_from(PARTS), min_size=1, max_size=2))
    headers = draw(st.lists(_headers(operation), min_size=1, max_size=3)) if "headers" in odd else []
    media, body = _media(operation), None
    if operation.media or "body" in odd:
        body = draw(bodies(operation)) if "body" in odd else b"{}"
    if "media" in odd or body is not None:
        headers.insert(0, ("Content-Type", draw(st.sampled_from(MEDIA)) if "media" in odd else media))
    return Sent(
        method=operation.method,
        target=draw(_targets(operation, ids, odd)).encode(),
        headers=headers,
        body=body,
        chunked=body is not None and draw(st.booleans()),
    )


def _media(operation: Operation) -> str:
    return operation.media[0] if operation.media else "application/json"


@st.composite
def _targets(draw: st.DrawFn, operation: Operation, ids: Mapping[str, str], odd: Set[str]) -> str:
    path, pairs = operation.path, list[tuple[str, str]]()
    for name in operation.parameters("path"):
        segment = draw(texts().map(_quoted)) if "path" in odd else ids[name]
        path = path.replace(f"{{{name}}}", segment or "-")
    if "query" in odd:
        names = st.sampled_from([*operation.parameters("query"), "cursor", "x"]) | texts().map(_quoted)
        pairs = draw(st.lists(st.tuples(names, texts().map(_quoted)), max_size=2))
    return path + ("?" + "&".join([f"{name}={value}" for name, value in pairs]) if pairs else "")


def _headers(operation: Operation) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from([*operation.parameters("header"), *HEADERS]).flatmap(_header)


def _header(name: str) -> st.SearchStrategy[tuple[str, str]]:
    any_value = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=40)
    return st.tuples(st.just(name), st.sampled_from(HEADERS.get(name, ("",))) | any_value)
