"""The append against a model of a few lines: any batch gets the verdicts that its requests would get one by one."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as some

from domain.kernel.decider import Allowance
from domain.kernel.refusals import Refusal
from infra.eventsourcing.store import (
    AllowanceChange,
    AllowanceExceeded,
    Appended,
    AppendRequest,
    ClaimTaken,
    Conflict,
    Limit,
    Replayed,
    StreamAppend,
    Verdict,
)
from infra.eventsourcing.store.batch import APPEND, columns_of, verdicts_of
from infra.postgres.pool import Connection
from tests.support.log_checks import violations
from tests.support.write_side import connected, idempotency, part, request, take

MOST, MOST_WEIGHT = 2, 4
LIMITS = {"thing": Limit(MOST, MOST_WEIGHT)}

Batches: TypeAlias = list[list["Wish"]]


@dataclass(frozen=True)
class Wish:
    """A request over a few streams, named by numbers. ``off``: how far its idea of a stream is from the truth."""

    parts: dict[int, tuple[int, int]]  # stream → events to add, and how far off
    takes: tuple[tuple[int, int, bool], ...]  # stream, key, released
    key: int | None
    store: bool
    weight: int  # of the share that each stream takes, gives back, and takes again


@dataclass
class Model:
    """The log as it must be, one request after the other."""

    position: int = 0
    versions: dict[UUID, int] = field(default_factory=dict)
    holders: dict[bytes, UUID] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    shares: dict[tuple[UUID, UUID], int] = field(default_factory=dict)

    def batch(self, requests: list[AppendRequest]) -> list[str]:
        """The verdicts; those behind a failed request on a stream that it would have moved conflict."""
        poisoned: set[UUID] = set()
        said = []
        for each in requests:
            verdict = self._verdict(each, poisoned)
            if not verdict.startswith("stored"):
                poisoned |= {part.stream_id for part in each.parts if part.events}
            said.append(verdict)
        return said

    def _verdict(self, each: AppendRequest, poisoned: set[UUID]) -> str:
        if each.key is not None and each.key.key in self.keys:
            return f"replayed {self.keys[each.key.key]}"
        if any(p.stream_id in poisoned or p.expected != self.versions.get(p.stream_id, 0) for p in each.parts):
            return "conflict"
        if refused := self._exceeded(each) or self._claim(each):
            return refused
        self._share(each)
        self.position += each.size
        self.versions |= {part.stream_id: part.expected + len(part.events) for part in each.parts}
        if each.key is not None and each.key.store:
            self.keys[each.key.key] = self.position
        return f"stored {self.position}"

    def _exceeded(self, each: AppendRequest) -> str | None:
        """The first owner who would have too much; told before a key that is taken."""
        wanted: dict[UUID, list[int]] = {}
        for change in each.allowances:
            if not change.allowance.released:
                wanted.setdefault(change.allowance.owner, []).append(change.allowance.weight)
        for owner, weights in wanted.items():
            weights += [weight for (who, _), weight in self.shares.items() if who == owner]
            if len(weights) > MOST or sum(weights) > MOST_WEIGHT:
                return f"exceeded {owner} {len(weights) <= MOST}"
        return None

    def _claim(self, each: AppendRequest) -> str | None:
        holders = dict(self.holders)
        for claim in each.claims:
            holder = holders.get(claim.digest, claim.stream_id)
            if claim.released and holder == claim.stream_id:
                holders.pop(claim.digest, None)
            elif not claim.released and holder != claim.stream_id:
                return f"taken {claim.digest.hex()}"
            elif not claim.released:
                holders[claim.digest] = claim.stream_id
        self.holders = holders
        return None

    def _share(self, each: AppendRequest) -> None:
        for change in each.allowances:
            name = change.allowance.owner, change.stream_id
            if change.allowance.released:
                self.shares.pop(name, None)
            else:
                self.shares[name] = change.allowance.weight


def spoken(verdict: Verdict) -> str:
    match verdict:
        case Appended(position=position):
            return f"stored {position}"
        case Conflict():
            return "conflict"
        case ClaimTaken(claim=claim):
            return f"taken {claim.digest.hex()}"
        case AllowanceExceeded(allowance=allowance, by_weight=by_weight):
            return f"exceeded {allowance.owner} {by_weight}"
        case Replayed(position=position):
            return f"replayed {position}"


wishes = some.builds(
    Wish,
    parts=some.dictionaries(
        some.integers(0, 3),
        some.tuples(some.integers(0, 2), some.sampled_from([0, 0, 0, 0, 0, 1, -1])),
        min_size=1,
        max_size=3,
    ),
    takes=some.lists(some.tuples(some.integers(0, 3), some.integers(0, 2), some.booleans()), max_size=3).map(tuple),
    key=some.none() | some.integers(0, 3),
    store=some.booleans(),
    weight=some.integers(0, 3),
)
batches = some.lists(some.lists(wishes, min_size=1, max_size=6), min_size=1, max_size=4)


class World:
    """The streams of one example. What a client believes of them follows what it has asked for."""

    def __init__(self) -> None:
        self.name = uuid4().hex
        self.streams = [uuid4() for _ in range(4)]
        self.owners = [uuid4() for _ in range(2)]

    def requests(self, batch: list[Wish], versions: dict[UUID, int]) -> Iterator[AppendRequest]:
        """Each request expects what those before it in the batch would leave, give or take."""
        believed = dict(versions)
        for wish in batch:
            parts = []
            for number, (added, off) in wish.parts.items():
                stream = self.streams[number]
                parts.append(part(stream, max(0, believed.get(stream, 0) + off), added))
                believed[stream] = parts[-1].expected + added
            size = sum(added for added, _ in wish.parts.values())
            claims = [take(self.streams[s], f"{self.name}{k}", released=gone) for s, k, gone in wish.takes if size]
            key = None if wish.key is None else idempotency(f"{self.name}{wish.key}", store=wish.store or size > 0)
            yield request(*parts, claims=claims, key=key, allowances=self._shares(wish, parts))

    def _shares(self, wish: Wish, parts: list[StreamAppend]) -> list[AllowanceChange]:
        """A share is taken at every other version of a stream, and given back at those between."""
        return [
            AllowanceChange(
                Allowance(
                    scope="thing",
                    owner=self.owners[number // 3],
                    weight=wish.weight,
                    released=part.expected % 2 == 1,
                    too_many=Refusal,
                    too_much=Refusal,
                ),
                part.stream_id,
            )
            for number, part in zip(wish.parts, parts, strict=True)
            if part.events
        ]


async def _agree(connection: Connection, model: Model, planned: Batches) -> None:
    world = World()
    for batch in planned:
        requests = list(world.requests(batch, model.versions))
        rows = await connection.fetch(APPEND, columns_of(requests, LIMITS))
        assert [spoken(verdict) for verdict in verdicts_of(requests, rows, LIMITS)] == model.batch(requests)
    for stream in world.streams:
        found = await connection.fetchval("SELECT max(version) FROM events WHERE stream_id = $1", stream)
        assert (found or 0) == model.versions.get(stream, 0)
    shares = await connection.fetch(
        "SELECT owner, stream_id, weight FROM allowances WHERE owner = ANY ($1)", world.owners
    )
    kept = {name: weight for name, weight in model.shares.items() if name[0] in world.owners}
    assert {(row["owner"], row["stream_id"]): row["weight"] for row in shares} == kept
    held = await connection.fetch("SELECT key_digest, stream_id FROM claims WHERE stream_id = ANY ($1)", world.streams)
    ours = {digest: stream for digest, stream in model.holders.items() if stream in world.streams}
    assert {row["key_digest"]: row["stream_id"] for row in held} == ours


def test_any_batch_gets_the_verdicts_of_its_requests_one_by_one(database_url: str) -> None:
    with asyncio.Runner() as runner:
        opened, model = AsyncExitStack(), Model()
        connection = runner.run(opened.enter_async_context(connected(database_url)))

        @settings(max_examples=200)
        @given(planned=batches)
        def examples(planned: Batches) -> None:
            runner.run(_agree(connection, model, planned))

        try:
            examples()
            assert runner.run(violations(connection)) == []
        finally:
            runner.run(opened.aclose())
