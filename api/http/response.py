"""Responses: an answer in its final bytes, and the receipt that a write is answered with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from starlette.responses import Response

JSON = (b"content-type", b"application/json")

Headers = list[tuple[bytes, bytes]]


class RawResponse(NamedTuple):
    """A whole response. ``headers`` are lower-case and lack ``content-length``; it may be shared between requests."""

    status: int
    headers: Headers
    body: bytes = b""


class WholeResponse(Response):
    """A :class:`RawResponse` as FastAPI takes it. Its headers are its own, whoever shares the rest."""

    def __init__(self, answer: RawResponse) -> None:
        self.whole = answer
        self.status_code, headers, self.body = answer
        self.raw_headers = [*headers]
        self.background = None


REPLAYED = (b"idempotency-replayed", b"true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A write of which there is nothing to tell. It may be an earlier one with the same idempotency key."""

    replayed: bool = False

    def answer(self, status: int) -> RawResponse:
        """The response: no body."""
        return RawResponse(status, [REPLAYED] if self.replayed else [])


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof of a write: ``{"id", "version", "position"}`` and what ``extra`` adds to it.

    ``token`` becomes ``Consistency-Token``, ``version`` the ``ETag``; ``location`` is set when something was made.
    A receipt may stand for an earlier command with the same idempotency key (``replayed``).
    """

    id: UUID
    version: int
    position: int
    token: str = ""
    location: str | None = None
    replayed: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, status: int) -> RawResponse:
        """The response: the body with ``extra`` beside the three fields, and the headers that clients build on."""
        body = {"id": self.id, "version": self.version, "position": self.position, **self.extra}
        headers = [JSON, (b"etag", b'"%d"' % self.version)]
        if self.token:
            headers.append((b"consistency-token", self.token.encode("ascii")))
        if self.location is not None:
            headers.append((b"location", self.location.encode("ascii")))
        if self.replayed:
            headers.append(REPLAYED)
        return RawResponse(status, headers, orjson.dumps(body, _plain))


def _plain(value: Any) -> str:
    """An id that was read from a row is of the driver's own kind of UUID."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__qualname__)


def response_of(answer: Any, status: int) -> Response:
    """What an endpoint has answered with, as FastAPI takes it."""
    match answer:
        case Response():
            return answer
        case RawResponse():
            return WholeResponse(answer)
        case Receipt() if status != 204:
            return WholeResponse(answer.answer(status))
        case Receipt() | Done():
            return WholeResponse(Done(replayed=answer.replayed).answer(status))
        case _:
            return WholeResponse(RawResponse(status, []))


def json_answer(value: object, status: int = 200, headers: Headers | None = None) -> RawResponse:
    """``value`` as JSON; Decimals must already be strings."""
    return RawResponse(status, [JSON, *(headers or ())], orjson.dumps(value))
