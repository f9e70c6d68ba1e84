"""The strict edge: how much of a body is read, of which kind, and how long that may take."""

import asyncio
import types
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

from starlette.types import Message, Receive

from api.errors import Problem

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

KIB: Final = 1024
MIB: Final = 1024 * KIB
DRAIN_BYTES: Final = 8 * MIB
DRAIN_SECONDS: Final = 2.0

_JSON_TYPES: Final = frozenset({b"application/json"})
_UTF_8: Final = frozenset({b"charset=utf-8", b"charset=utf8"})
_FORM_TYPES: Final = frozenset({b"application/x-www-form-urlencoded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyPolicy:
    """What a route takes: media types, bytes, and seconds for all of it.

    ``image/*`` is any image, ``*/*`` anything, typed or not; ``stream`` leaves reading to the endpoint.
    """

    media: frozenset[bytes]
    limit: int = MIB
    seconds: float = 10.0
    stream: bool = False


NOTHING: Final = BodyPolicy(media=frozenset(), limit=0)
JSON_BODY: Final = BodyPolicy(media=_JSON_TYPES)
FORM_BODY: Final = BodyPolicy(media=_FORM_TYPES, limit=64 * KIB)
FORM_DATA: Final = BodyPolicy(media=_FORM_TYPES | {b"multipart/form-data"})
ANY_BODY: Final = BodyPolicy(media=frozenset({b"*/*"}))


class ClientGone(Exception):
    """The client hung up before its request was complete."""


def accepts(*media: str, limit: int = MIB, seconds: float = 10.0, stream: bool = False) -> Callable[[F], F]:
    """Mark an endpoint as taking other bodies than JSON of 1 MiB: its media types, its limit, its time."""
    policy = BodyPolicy(media=frozenset(m.encode("ascii") for m in media), limit=limit, seconds=seconds, stream=stream)

    def mark(endpoint: F) -> F:
        endpoint.__dict__["body_policy"] = policy
        return endpoint

    return mark


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, policy: BodyPolicy) -> bytes:
    """The whole body, counted as it comes, whatever ``Content-Length`` says.

    Raises :class:`~api.errors.Problem` (400, 408, 413, 415) and :class:`ClientGone`.
    """
    if not declares_body(headers):
        return b""
    check_head(headers, policy)
    collecting = _collect(receive, policy.limit).__await__()
    try:
        # Most bodies have arrived with their head. Those are taken without a timer, which costs as much as the rest.
        waiting_for = next(collecting)
    except StopIteration as collected:
        body: bytes = collected.value
        return body
    try:
        async with asyncio.timeout(policy.seconds):
            return await _resumed(collecting, waiting_for)
    except TimeoutError:
        raise Problem("request-timeout") from None


@types.coroutine
def _resumed(begun: Generator[Any, Any, T], waiting_for: Any) -> Generator[Any, Any, T]:
    """The rest of an awaitable that has been taken one step by hand."""
    while True:
        try:
            received = yield waiting_for
        except BaseException as error:  # a cancellation: it belongs to what is awaited
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, received)
        try:
            waiting_for = step()
        except StopIteration as done:
            return cast(T, done.value)


def declares_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the head announces a body (RFC 9112 section 6)."""
    length = headers.get(b"content-length")
    return (length is not None and length != b"0") or b"transfer-encoding" in headers


def check_head(headers: Mapping[bytes, bytes], policy: BodyPolicy) -> None:
    """Refuse by the head alone what needs no reading."""
    if not policy.media:
        raise Problem("unexpected-body")
    if not _is_plain(headers.get(b"content-encoding")):
        raise Problem(
            "unsupported-media-type", "Encoded bodies are not taken.", headers=[(b"accept-encoding", b"identity")]
        )
    if not _is_media(headers.get(b"content-type", b""), policy.media):
        raise not_taken(media.decode("ascii") for media in policy.media)
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise Problem("malformed-request")
    if int(length[:20]) > policy.limit:
        raise Problem("content-too-large")


def not_taken(media: Iterable[str], detail: str | None = None) -> Problem:
    """The refusal of a body that is of none of these kinds, which it tells (RFC 9110, 15.5.16)."""
    return Problem("unsupported-media-type", detail, headers=[(b"accept", ", ".join(sorted(media)).encode("ascii"))])


def _is_plain(codings: bytes | None) -> bool:
    """Whether nothing has been done to the body (RFC 9110, 8.4.1)."""
    return codings is None or {coding.strip() for coding in codings.lower().split(b",")} <= {b"identity", b""}


def _is_media(value: bytes, media: frozenset[bytes]) -> bool:
    """The media type, whatever its case; the only charset is UTF-8, other parameters are of no concern."""
    if value in media or b"*/*" in media:
        return True
    essence, *parameters = value.lower().split(b";")
    charsets = [p.strip() for p in parameters if p.strip().startswith(b"charset=")]
    known = {essence.strip(), essence.strip().partition(b"/")[0] + b"/*"}
    return not known.isdisjoint(media) and all(c.replace(b'"', b"") in _UTF_8 for c in charsets)


async def _collect(receive: Receive, limit: int) -> bytes:
    message = await _part(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return _within(body, limit)
    parts, size = [body], len(body)
    while message.get("more_body", False):
        _within(b"", limit - size)
        message = await _part(receive)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return _within(b"".join(parts), limit)


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise Problem("content-too-large")
    return body


async def _part(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def counted(receive: Receive, policy: BodyPolicy, ended: Callable[[], None] = lambda: None) -> Receive:
    """``receive`` for an endpoint that reads in parts: the same limit on bytes, and the time for each wait.

    ``ended`` is called when all has been read.
    """
    left = policy.limit

    async def counting() -> Message:
        nonlocal left
        try:
            async with asyncio.timeout(policy.seconds):
                message = await receive()
        except TimeoutError:
            raise Problem("request-timeout") from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise Problem("content-too-large")
        if not message.get("more_body", False):
            ended()
        return message

    return counting


def replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` for an endpoint whose body has been read: it comes once more, and then whatever comes next."""
    unread = True

    async def replaying() -> Message:
        nonlocal unread
        if not unread:
            return await receive()
        unread = False
        return {"type": "http.request", "body": body, "more_body": False}

    return replaying


async def drained(headers: Mapping[bytes, bytes], receive: Receive) -> bool:
    """Read away a body that was refused unread, so that the client gets to see the answer; False if it is too much.

    Closing on a client that still sends would reset the connection under the answer (RFC 9112 section 9.6).
    """
    if not declares_body(headers):
        return True
    length = headers.get(b"content-length", b"0")
    if b"expect" in headers or not length.isdigit() or int(length[:20]) > DRAIN_BYTES:
        return False
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await _collect_nothing(receive)
    except (TimeoutError, Problem, ClientGone):
        return False
    return True


async def _collect_nothing(receive: Receive) -> None:
    left, message = DRAIN_BYTES, await _part(receive)
    while message.get("more_body", False):
        left -= len(message.get("body", b""))
        _within(b"", left)
        message = await _part(receive)
