"""Fair shares, as a pure function: what a worker should take and what it should give back, as things stand."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

WHOLE: Final = -1
"""The shard of a consumer that takes the whole log."""

Unit: TypeAlias = tuple[str, int]


class Place(NamedTuple):
    """A checkpoint: one shard of one generation of one consumer."""

    consumer: str
    generation: int
    shard: int

    @property
    def unit(self) -> Unit:
        """What is owned together. All consumers of a shard: they share the reading and decoding of its events."""
        return ("", self.shard) if self.shard != WHOLE else (self.consumer, WHOLE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one worker should do."""

    take: Sequence[Place] = ()
    release: Sequence[Place] = ()


def plan(me: UUID, others: Collection[UUID], owners: Iterable[tuple[Place, UUID | None]]) -> Plan:
    """The worker's next steps towards a state in which nobody has two units more than another.

    ``others`` are the living besides ``me``; an owner who is not living must be given as None. All workers compute the
    same shares from the same picture, so nobody takes what another would have to give back.
    """
    units = _units(owners)
    holders = {unit: _holder(places) for unit, places in units.items()}
    mine = sorted(unit for unit, holder in holders.items() if holder == me)
    free = sorted(unit for unit, holder in holders.items() if holder is None)
    share = _share(me, {me, *others}, [holder for holder in holders.values() if holder is not None], len(units))
    kept = mine[:share]
    wanted = {*kept, *free[: share - len(kept)]}
    places = [(unit, place, owner) for unit in units for place, owner in units[unit]]
    return Plan(
        take=[place for unit, place, owner in places if owner is None and unit in wanted],
        release=[place for unit, place, owner in places if owner == me and unit not in kept],
    )


def _units(owners: Iterable[tuple[Place, UUID | None]]) -> dict[Unit, list[tuple[Place, UUID | None]]]:
    ordered = sorted(owners, key=lambda each: (each[0].unit, each[0]))
    return {unit: list(places) for unit, places in groupby(ordered, key=lambda each: each[0].unit)}


def _holder(places: Sequence[tuple[Place, UUID | None]]) -> UUID | None:
    """Who holds a unit: the owner of the first of its places that has one. Any other owner in it has to give way."""
    return next((owner for _, owner in places if owner is not None), None)


def _share(me: UUID, workers: Collection[UUID], held: Sequence[UUID], units: int) -> int:
    """How many units are mine: as many as anyone's. The remainder goes to those who hold most, so that little moves."""
    each, over = divmod(units, len(workers))
    ranked = sorted(workers, key=lambda worker: (-held.count(worker), worker))
    return each + (ranked.index(me) < over)
