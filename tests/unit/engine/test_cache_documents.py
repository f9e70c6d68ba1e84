"""One read model's documents in one process: what is shared, what is kept, and what must not be."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.errors import Unavailable
from infra.eventsourcing.read_cache import Document, Documents
from infra.eventsourcing.read_cache.document_cache import GenerationGone
from infra.eventsourcing.read_cache.local_cache import OVERHEAD
from infra.eventsourcing.read_cache.redis_cache import NOTHING, Held, Place

pytestmark = pytest.mark.anyio


class Shelf:
    """Redis and Postgres, as a test sets them; ``gate`` holds Postgres up."""

    def __init__(self) -> None:
        self.generation = 1
        self.tables = {1}
        self.stored: dict[str, Document] = {}
        self.held: dict[str, Held] = {}
        self.loads: list[Place] = []
        self.filled: list[tuple[Place, Held, Document | None]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def place(self, projection: str, key: str) -> Place:
        return Place(projection, self.generation, key)

    async def look(self, place: Place) -> Held:
        return self.held.get(place.key, NOTHING)

    async def load(self, place: Place) -> Document | None:
        self.loads.append(place)
        if place.generation not in self.tables:
            self.generation = max(self.tables, default=place.generation)
            raise GenerationGone
        document = self.stored.get(place.key)
        await self.gate.wait()
        return document

    def fill(self, place: Place, held: Held, document: Document | None) -> None:
        self.filled.append((place, held, document))


@pytest.fixture
async def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
async def things(shelf: Shelf) -> AsyncIterator[Documents[str]]:
    documents = Documents(
        "thing", lambda document: document.body.decode(), source=shelf, capacity=3, most_bytes=1_000_000
    )
    documents.local.open()
    yield documents
    await documents.close()


async def turn() -> None:
    """Lets everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_who_ask_at_once_share_one_fetch(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    assert await asyncio.gather(*[things.get("a") for _ in range(100)]) == ["one"] * 100
    assert len(shelf.loads) == 1


async def test_what_was_fetched_is_kept(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    assert things.now("a") is None
    await things.get("a")
    assert things.now("a") == "one"
    assert len(shelf.loads) == 1


async def test_what_redis_holds_is_not_asked_of_postgres(shelf: Shelf, things: Documents[str]) -> None:
    shelf.held["a"] = Held(document=Document(1, 1, b"one"))
    assert await things.get("a") == "one"
    assert (shelf.loads, shelf.filled) == ([], [])


async def test_what_postgres_holds_is_brought_to_redis_under_the_mark(shelf: Shelf, things: Documents[str]) -> None:
    mark = shelf.held["a"] = Held(mark=b"?1")
    shelf.stored["a"] = Document(1, 1, b"one")
    assert await things.get("a") == "one"
    assert shelf.filled == [(Place("thing", 1, "a"), mark, Document(1, 1, b"one"))]


async def test_a_row_that_was_deleted_is_nothing_and_is_not_kept(shelf: Shelf, things: Documents[str]) -> None:
    shelf.held["a"] = Held(document=Document(7, 0, b""))
    assert await things.get("a") is None
    assert len(things.local) == 0


async def test_news_drops_what_is_older(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    await things.get("a")
    things.local.told("a", 2)
    assert things.now("a") is None


async def test_news_of_what_is_known_already_drops_nothing(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(3, 3, b"three")
    await things.get("a")
    things.local.told("a", 2)
    assert things.now("a") == "three"


async def test_a_row_written_again_at_its_position_is_fetched_anew(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(3, 3, b"three")
    await things.get("a")
    shelf.stored["a"] = Document(3, 3, b"three, as it should be")
    things.local.told("a", 3)
    assert await things.get("a") == "three, as it should be"


async def test_a_fetch_that_read_before_the_news_is_not_kept(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    shelf.gate.clear()
    early = asyncio.create_task(things.get("a"))
    await turn()
    shelf.stored["a"] = Document(2, 2, b"two")
    things.local.told("a", 2)
    shelf.gate.set()
    assert await early == "one"  # it asked before the change was told
    assert things.now("a") is None
    assert await things.get("a") == "two"


async def test_who_asks_after_the_news_does_not_join_an_earlier_fetch(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    shelf.gate.clear()
    early = asyncio.create_task(things.get("a"))
    await turn()
    shelf.stored["a"] = Document(2, 2, b"two")
    things.local.told("a", 2)
    late = asyncio.create_task(things.get("a"))
    await turn()
    shelf.gate.set()
    assert [await each for each in (early, late)] == ["one", "two"]
    assert things.now("a") == "two"


async def test_two_pieces_of_news_during_one_fetch_keep_it_out(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(2, 2, b"two")
    shelf.gate.clear()
    early = asyncio.create_task(things.get("a"))
    await turn()
    things.local.told("a", 2)
    things.local.told("a", 3)
    shelf.gate.set()
    await early
    assert things.now("a") is None


async def test_nothing_is_kept_while_news_may_be_missed(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    await things.get("a")
    things.local.shut()
    assert things.now("a") is None
    assert await things.get("a") == "one"
    assert things.now("a") is None
    things.local.open()
    await things.get("a")
    assert things.now("a") == "one"


async def test_a_fetch_across_a_loss_of_news_is_not_kept(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    shelf.gate.clear()
    early = asyncio.create_task(things.get("a"))
    await turn()
    things.local.shut()
    things.local.open()
    shelf.gate.set()
    await early
    assert things.now("a") is None


async def test_the_least_recently_read_leaves_first(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored = {key: Document(1, 1, key.encode()) for key in "abcd"}
    for key in "abc":
        await things.get(key)
    things.now("a")
    await things.get("d")
    assert [things.now(key) for key in "abcd"] == ["a", None, "c", "d"]


async def test_a_giant_is_served_and_not_kept(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"x" * 100_000)
    assert await things.get("a") == "x" * 100_000
    assert things.now("a") is None


async def test_who_leaves_takes_nothing_from_those_who_stay(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    shelf.gate.clear()
    leaving, staying = (asyncio.create_task(things.get("a")) for _ in range(2))
    await turn()
    leaving.cancel()
    await turn()
    shelf.gate.set()
    assert await staying == "one"


async def test_a_generation_that_is_gone_is_looked_for_in_the_next(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    shelf.tables = {2}
    assert await things.get("a") == "one"
    assert [place.generation for place in shelf.loads] == [1, 2]


async def test_a_generation_that_is_nowhere_is_an_outage(shelf: Shelf, things: Documents[str]) -> None:
    shelf.tables = set()
    with pytest.raises(Unavailable):
        await things.get("a")


async def test_a_read_past_the_caches_asks_postgres_whatever_is_kept(shelf: Shelf, things: Documents[str]) -> None:
    shelf.stored["a"] = Document(1, 1, b"one")
    await things.get("a")
    shelf.stored["a"] = Document(2, 2, b"two")
    assert await things.past_caches("a") == "two"
    assert shelf.filled == [(Place("thing", 1, "a"), NOTHING, Document(1, 1, b"one"))]


async def test_what_is_kept_is_bounded_by_bytes(shelf: Shelf) -> None:
    most = 3 * (OVERHEAD + 1_000)
    things = Documents("thing", lambda document: document.body, source=shelf, capacity=1_000, most_bytes=most)
    things.local.open()
    for number in range(9):
        shelf.stored[str(number)] = Document(1, 1, b"x" * 1_000)
        await things.get(str(number))
        assert things.local.bytes <= most
    assert [things.now(str(number)) is not None for number in range(9)] == [False] * 6 + [True] * 3
    things.local.told("8", 2)
    assert things.local.bytes == 2 * (OVERHEAD + 1_000)
    things.local.clear()
    assert things.local.bytes == 0
    await things.close()
