"""One batch of requests as ``append_to_log`` takes it, and its answer as verdicts."""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, Final, TypeAlias
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
    Last,
    Limit,
    Replayed,
    SpeculativeBase,
    StreamAppend,
    Verdict,
)

Limits: TypeAlias = Mapping[str, Limit]
"""By scope of allowances. A scope that is not there has no bounds."""

NO_LIMITS: Final[Limits] = {}

_UNBOUNDED: Final = Limit()

APPEND: Final = "SELECT verdict, at, recorded, detail FROM append_to_log($1)"


def document(requests: Sequence[AppendRequest], limits: Limits = NO_LIMITS) -> bytes:
    """The batch as ``append_to_log`` takes it: requests, parts, events and claims, each list in the same order.

    Which event a stream ends with goes with each part, unless it is an event of this batch. That is read now and not
    when the request was made: all batches before this one are stored, so that what a part expects has come to be.
    """
    parts: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for request in requests:
        metadata = orjson.Fragment(request.metadata)
        for part, premise in zip(request.parts, request.premises or repeat(None), strict=False):
            parts.append(_part(part, premise))
            stream, category, version = part.stream_id, part.category, part.expected
            for event in part.events:
                version += 1
                events.append(
                    {
                        "stream": stream,
                        "version": version,
                        "category": category,
                        "shard": part.shard,
                        "type": event.type,
                        "schema": event.schema_version,
                        "data": orjson.Fragment(event.data),
                        "metadata": metadata,
                    }
                )
    premises, places = _shared(requests)
    return orjson.dumps(
        {
            "keyed": any(request.key is not None for request in requests),
            "writing": any(request.writes for request in requests),
            "requests": [_request(request, places) for request in requests],
            "parts": parts,
            "premises": premises,
            "events": events,
            "claims": [_claim(claim) for request in requests for claim in request.claims],
            "allowances": [_allowance(change, limits) for request in requests for change in request.allowances],
        },
        default=str,  # the driver's own kind of UUID: an id may come from a row
    )


def _shared(requests: Sequence[AppendRequest]) -> tuple[list[dict[str, Any]], dict[int, list[int]]]:
    """What requests of the batch share, each stream as it was read said once; and by ``id`` of what is shared, its
    places. A stream that is said twice, as no two can both be right, has Postgres go through the batch one by one.
    """
    premises: list[dict[str, Any]] = []
    said: dict[tuple[UUID, int, Last | None], int] = {}
    places: dict[int, list[int]] = {}
    for request in requests:
        if (shared := request.shared) is None or id(shared) in places:
            continue
        places[id(shared)] = mine = []
        for part, base in zip(*shared, strict=True):
            known = (part.stream_id, part.expected, base.last)
            if (place := said.get(known)) is None:
                place = said[known] = len(premises)
                premises.append(_part(part, base) | {"shared": True})
            mine.append(place)
    return premises, places


def _part(part: StreamAppend, premise: SpeculativeBase | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "stream": part.stream_id,
        "category": part.category,
        "expected": part.expected,
        "added": len(part.events),
    }
    if premise is not None and (last := premise.last) is not None:
        entry["position"], entry["recorded"] = last
    return entry


def _request(request: AppendRequest, places: Mapping[int, list[int]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"parts": len(request.parts), "events": request.size, "claims": len(request.claims)}
    if request.allowances:
        entry["allowances"] = len(request.allowances)
    if request.shared is not None:
        entry["premises"] = places[id(request.shared)]
    if (key := request.key) is not None:
        entry |= {
            "principal": key.principal,
            "key": key.key,
            "fingerprint": "\\x" + key.fingerprint.hex(),
            "outcome": orjson.Fragment(key.outcome),
            "store": key.store,
        }
    return entry


def _claim(claim: ClaimChange) -> dict[str, Any]:
    digest = "\\x" + claim.digest.hex()
    return {"scope": claim.scope, "digest": digest, "stream": claim.stream_id, "released": claim.released}


def _allowance(change: AllowanceChange, limits: Limits) -> dict[str, Any]:
    allowance = change.allowance
    number, weight = limits.get(allowance.scope, _UNBOUNDED)
    return {
        "scope": allowance.scope,
        "owner": allowance.owner,
        "stream": change.stream_id,
        "weight": allowance.weight,
        "released": allowance.released,
        "most": number,
        "most_weight": weight,
    }


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
            return _exceeded(request, orjson.loads(row["detail"]), limits)
        case "replayed":
            detail = orjson.loads(row["detail"])
            return Replayed(bytes.fromhex(detail["fingerprint"]), orjson.dumps(detail["outcome"]), row["at"])
        case other:
            raise AssertionError(f"append_to_log answered {other!r}")


def _exceeded(request: AppendRequest, detail: Mapping[str, Any], limits: Limits) -> AllowanceExceeded:
    (allowance,) = [
        change.allowance
        for change in request.allowances
        if (change.allowance.scope, str(change.allowance.owner)) == (detail["scope"], detail["owner"])
        and not change.allowance.released
    ][:1]
    return AllowanceExceeded(allowance, limits.get(allowance.scope, Limit()), detail["by_weight"])
