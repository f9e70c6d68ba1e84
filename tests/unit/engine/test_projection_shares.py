"""Fair shares of the leases: who takes what, and that it comes to rest."""

from collections import Counter
from itertools import count
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from infra.eventsourcing.leases import WHOLE, Claim, Place, Standing, plan

ADA, BOB, EVE = UUID(int=1), UUID(int=2), UUID(int=3)
Owners = dict[Place, UUID | None]


def shards(number: int, *consumers: str) -> Owners:
    return {Place(name, 1, shard): None for name in consumers for shard in range(number)}


def plan_of(me: UUID, others: set[UUID], owners: Owners) -> tuple[set[Place], set[Place]]:
    plans = plan(me, others, owners.items())
    return set(plans.take), set(plans.release)


def owned(owners: Owners, worker: UUID) -> set[Place]:
    return {place for place, owner in owners.items() if owner == worker}


def settled(workers: list[UUID], owners: Owners) -> int:
    """Lets the workers carry out their plans in turn until nothing moves; answers how many moves that took."""
    moves = 0
    for _ in count():
        before = dict(owners)
        for worker in workers:
            take, release = plan_of(worker, {*workers} - {worker}, owners)
            moves += len(take) + len(release)
            owners.update(dict.fromkeys(take, worker))
            owners.update(dict.fromkeys(release, None))
        if owners == before:
            return moves
        assert moves < 10_000, "they never come to rest"
    raise AssertionError


def test_a_worker_alone_takes_everything() -> None:
    owners = shards(4, "order_summary", "product_card")
    assert plan_of(ADA, set(), owners) == (set(owners), set())


def test_a_newcomer_takes_nothing_from_those_who_hold_it() -> None:
    owners: Owners = dict.fromkeys(shards(4, "order_summary"), ADA)
    assert plan_of(BOB, {ADA}, owners) == (set(), set())


def test_who_has_more_than_a_fair_share_gives_the_surplus_back() -> None:
    owners: Owners = dict.fromkeys(shards(4, "order_summary"), ADA)
    assert plan_of(ADA, {BOB}, owners) == (set(), {Place("order_summary", 1, 2), Place("order_summary", 1, 3)})


def test_all_consumers_of_a_shard_go_to_one_worker() -> None:
    owners = shards(4, "order_summary", "product_card")
    settled([ADA, BOB], owners)
    holders = {shard: {owners[place] for place in owners if place.shard == shard} for shard in range(4)}
    assert all(len(each) == 1 for each in holders.values())


def test_a_shard_that_was_torn_apart_is_mended() -> None:
    owners: Owners = {Place("order_summary", 1, 0): ADA, Place("product_card", 1, 0): BOB}
    settled([ADA, BOB], owners)
    assert len(set(owners.values())) == 1


def test_consumers_of_the_whole_log_are_shared_out_one_by_one() -> None:
    owners: Owners = {Place("mail", 0, WHOLE): None, Place("timers", 0, WHOLE): None}
    settled([ADA, BOB], owners)
    assert set(owners.values()) == {ADA, BOB}


def test_a_new_consumer_of_a_shard_goes_to_the_owner_of_the_shard() -> None:
    owners: Owners = {**dict.fromkeys(shards(2, "order_summary"), ADA), Place("product_card", 1, 1): None}
    assert plan_of(ADA, set(), owners)[0] == {Place("product_card", 1, 1)}


@given(st.integers(1, 9), st.integers(1, 17), st.data())
def test_wherever_it_starts_it_comes_to_rest_evenly(number: int, units: int, data: st.DataObject) -> None:
    workers = [UUID(int=n) for n in range(1, number + 1)]
    owners = shards(units, "order_summary", "product_card")
    for place in owners:
        owners[place] = data.draw(st.sampled_from([None, *workers]))
    settled(workers, owners)
    held = Counter(owner for owner in owners.values() if owner is not None)
    assert sum(held.values()) == len(owners)
    counts = [held[worker] // 2 for worker in workers]
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 6), st.integers(1, 17))
def test_at_rest_nothing_moves_but_what_a_newcomer_must_get(number: int, units: int) -> None:
    workers = [UUID(int=n) for n in range(1, number + 1)]
    owners = shards(units, "order_summary")
    settled(workers, owners)
    assert settled(workers, owners) == 0
    newcomer = UUID(int=99)
    assert settled([*workers, newcomer], owners) == 2 * len(owned(owners, newcomer))


def test_who_is_not_living_counts_for_nothing() -> None:
    owners: Owners = {**dict.fromkeys(shards(4, "order_summary"), None), Place("order_summary", 1, 0): EVE}
    assert len(plan_of(ADA, {EVE}, owners)[0]) == 2


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 8))
def test_while_two_releases_run_side_by_side_every_place_comes_to_one_that_keeps_it(
    old: int, new: int, number: int
) -> None:
    """The new release alone keeps product_card in its new generation, the old one nothing of it."""
    both = {UUID(int=n): n <= old for n in range(1, old + new + 1)}
    owners: Owners = dict.fromkeys(
        [Place(name, 1, shard) for name in ("order_summary", "product_card") for shard in range(number)]
    )

    def able(place: Place) -> set[UUID]:
        return {each for each, is_old in both.items() if not (is_old and place.consumer == "product_card")}

    for _ in range(old + new + 1):
        for me in both:
            mine = {place: owner for place, owner in owners.items() if me in able(place)}
            steps = Standing(
                places={place: Claim(owner, 0, 0, frozenset(able(place) - {me})) for place, owner in mine.items()}
            ).plan(me)
            owners.update(dict.fromkeys(steps.release))
            owners.update(dict.fromkeys(steps.take, me))
    assert all(owner in able(place) for place, owner in owners.items())
    held = Counter(owner for place, owner in owners.items() if place.consumer == "product_card")
    assert max(held.values()) - min([held[each] for each in both if not both[each]]) <= 1
