"""One batch of requests as ``append_columns`` takes it, and its answer as verdicts."""

from collections.abc import Mapping, Sequence
from itertools import accumulate, repeat
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from infra.eventsourcing.store.append_request import (
    AllowanceChange,
    AllowanceExceeded,
    Appended,
    AppendRequest,
    ClaimChange,
    ClaimTaken,
    Conflict,
    IdempotencyKey,
    Last,
    Limit,
    Replayed,
    SpeculativeBase,
    StreamAppend,
    Verdict,
)
from infra.postgres.pool import Reader

Limits: TypeAlias = Mapping[str, Limit]
"""By scope of allowances. A scope that is not there has no bounds."""

NO_LIMITS: Final[Limits] = {}

_UNBOUNDED: Final = Limit()

APPEND: Final = "SELECT verdict, at, recorded, detail FROM append_columns($1)"
_EXCEEDED: Final = "SELECT exceeded_allowance($1::text::text[])"

_COLUMN: Final = b"\x1e"
_TEXT: Final = b"\x1f"
"""What stands between columns, and between the texts of one. JSON has neither in it."""

_NO_KEY: Final = IdempotencyKey("", "", b"", b"")

_BRACES: Final = bytes.maketrans(b"[]", b"{}")


def columns_of(requests: Sequence[AppendRequest], limits: Limits = NO_LIMITS) -> bytes:
    """The batch as ``append_columns`` takes it: columns of parts, of events and of requests, each in the same order.

    Which event a stream ends with goes with each part, unless it is an event of this batch. That is read now and not
    when the request was made: all batches before this one are stored, so that what a part expects has come to be.
    """
    parts = _Parts([], [], [], {})
    places = _shared(requests, parts)
    relied_on = len(parts.streams)
    events = _Events([], [], [])
    writing = False
    for place, request in enumerate(requests, 1):
        writing = writing or request.writes
        for part, premise in zip(request.parts, request.premises or repeat(None), strict=False):
            parts.add(part, premise)
            events.add(part, len(parts.streams), place)
    data, metadata = _TEXT.join(events.data), _TEXT.join([request.metadata for request in requests])
    return _COLUMN.join(
        (
            b"{%d,%d,%d}" % (writing, relied_on, len(requests)),
            _array(parts.streams),
            _array(parts.categories),
            _array(parts.numbers),
            _array(events.numbers),
            _array(events.types),
            data,
            metadata,
            orjson.dumps([_counts(request, places) for request in requests]),
            *_keys(requests),
            _claims(requests),
            _allowances(requests, limits),
        )
    )


def _array(values: Sequence[Any]) -> bytes:
    """Numbers, ids and names of ours as Postgres writes an array, or one of arrays: as JSON, in other brackets."""
    return orjson.dumps(values, default=str).translate(_BRACES)  # an id from a row is of the driver's own kind


class _Parts(NamedTuple):
    """The columns of parts; ``numbers``: shard, events added, version expected, position and time of the last
    event, and which part, from 1, is the last before it on the same stream. ``latest`` has that by the stream's id."""

    streams: list[UUID]
    categories: list[str]
    numbers: list[tuple[int, int, int, int | None, int | None, int | None]]
    latest: dict[int, int]

    def add(self, part: StreamAppend, premise: SpeculativeBase | None) -> None:
        position, recorded = (premise.last if premise is not None else None) or (None, None)
        stream, latest = part.stream_id, self.latest
        self.streams.append(stream)
        self.categories.append(part.category)
        before = latest.get(stream.int)
        self.numbers.append((part.shard, len(part.events), part.expected, position, recorded, before))
        latest[stream.int] = len(self.streams)


class _Events(NamedTuple):
    """The columns of events; ``numbers``: of which part, of which request, version, schema version."""

    numbers: list[tuple[int, int, int, int]]
    types: list[str]
    data: list[bytes]

    def add(self, part: StreamAppend, of: int, asked: int) -> None:
        version = part.expected
        for event in part.events:
            version += 1
            self.numbers.append((of, asked, version, event.schema_version))
            self.types.append(event.type)
            self.data.append(event.data)


def _shared(requests: Sequence[AppendRequest], parts: _Parts) -> dict[int, list[int]]:
    """Adds what requests of the batch share, each stream as it was read said once. Answers, by ``id`` of what is
    shared, its places. A stream that is said twice, as no two can both be right, has Postgres go through the batch one
    by one.
    """
    said: dict[tuple[UUID, int, Last | None], int] = {}
    places: dict[int, list[int]] = {}
    for request in requests:
        if (shared := request.shared) is None or id(shared) in places:
            continue
        places[id(shared)] = mine = []
        for part, base in zip(*shared, strict=True):
            known = (part.stream_id, part.expected, base.last)
            if (place := said.get(known)) is None:
                place = said[known] = len(said)
                parts.add(part, base)
            mine.append(place)
    return places


def _counts(request: AppendRequest, places: Mapping[int, list[int]]) -> tuple[Any, ...]:
    relied_on = places[id(request.shared)] if request.shared is not None else ()
    return len(request.parts), request.size, len(request.claims), len(request.allowances), relied_on


def _keys(requests: Sequence[AppendRequest]) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Which requests keep their keys, and the events up to each; whose, which, what it stands for, and the outcome."""
    keys = [request.key for request in requests]
    if not any(keys):
        return b"{}", b"", b"", b"{}", b""
    stores = [None if key is None else int(key.store) for key in keys]
    upto = accumulate([request.size for request in requests])
    mine = [key or _NO_KEY for key in keys]
    return (
        _array([*zip(stores, upto, strict=True)]),
        _TEXT.join([key.principal.encode() for key in mine]),
        _TEXT.join([key.key.encode() for key in mine]),
        _array([key.fingerprint.hex() for key in mine]),
        _TEXT.join([key.outcome for key in mine]),
    )


def _claims(requests: Sequence[AppendRequest]) -> bytes:
    return _array([_claim(claim) for request in requests for claim in request.claims])


def _claim(claim: ClaimChange) -> tuple[Any, ...]:
    return claim.scope, claim.digest.hex(), claim.stream_id, int(claim.released)


def _allowances(requests: Sequence[AppendRequest], limits: Limits) -> bytes:
    return _array([_allowance(each, limits) for request in requests for each in request.allowances])


async def exceeded(session: Reader, changes: Sequence[AllowanceChange], limits: Limits) -> AllowanceExceeded | None:
    """The verdict on these at this moment, with nothing taken; None where all may be had. Raises Unavailable."""
    asked = _array([_allowance(each, limits) for each in changes])
    rows = await session.fetch(_EXCEEDED, asked.decode())
    return _exceeded(changes, orjson.loads(rows[0][0]), limits) if rows[0][0] else None


def _allowance(change: AllowanceChange, limits: Limits) -> tuple[Any, ...]:
    allowance = change.allowance
    most = limits.get(allowance.scope, _UNBOUNDED)
    return allowance.scope, allowance.owner, change.stream_id, int(allowance.released), allowance.weight, *most


def verdicts_of(
    requests: Sequence[AppendRequest], rows: Sequence[asyncpg.Record], limits: Limits = NO_LIMITS
) -> list[Verdict]:
    """One verdict per request, from the one row that speaks for all or from a row for each."""
    first, position, recorded, _ = rows[0]
    if first != "all":
        return [_verdict(request, row, limits) for request, row in zip(requests, rows, strict=True)]
    verdicts: list[Verdict] = []
    for request in requests:
        position += request.size
        verdicts.append(Appended(position, recorded))
    return verdicts


def _verdict(request: AppendRequest, row: asyncpg.Record, limits: Limits) -> Verdict:
    match row["verdict"]:
        case "stored":
            return Appended(row["at"], row["recorded"])
        case "conflict":
            return Conflict()
        case "taken":
            return ClaimTaken(request.claims[int(row["detail"])])
        case "exceeded":
            return _exceeded(request.allowances, orjson.loads(row["detail"]), limits)
        case "replayed":
            detail = orjson.loads(row["detail"])
            return Replayed(bytes.fromhex(detail["fingerprint"]), orjson.dumps(detail["outcome"]), row["at"])
        case other:
            raise AssertionError(f"append_columns answered {other!r}")


def _exceeded(changes: Sequence[AllowanceChange], detail: Mapping[str, Any], limits: Limits) -> AllowanceExceeded:
    (allowance,) = [
        change.allowance
        for change in changes
        if (change.allowance.scope, str(change.allowance.owner)) == (detail["scope"], detail["owner"])
        and not change.allowance.released
    ][:1]
    return AllowanceExceeded(allowance, limits.get(allowance.scope, Limit()), detail["by_weight"])
