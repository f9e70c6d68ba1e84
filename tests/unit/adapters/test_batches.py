"""Many small questions as few large ones."""

import asyncio
from collections.abc import Sequence

import pytest

from infra.concurrency.batcher import Batches
from infra.errors import Unavailable
from infra.observability.origin import Asking, arising_from, origin_fields

pytestmark = pytest.mark.anyio


class Answers:
    """Doubles each question, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def run(self, questions: list[int]) -> Sequence[int]:
        self.batches.append(questions)
        await self.gate.wait()
        if 13 in questions:
            raise ConnectionError
        return [question * 2 for question in questions]


def batches(answers: Answers, *, size: int = 100, flights: int = 1, waiting: int = 100) -> Batches[int, int]:
    return Batches(answers.run, size=size, flights=flights, waiting=waiting)


async def turn() -> None:
    """Lets everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_done_for_many_is_said_to_be_done_for_none_of_them() -> None:
    origins = []

    async def run(questions: list[int]) -> Sequence[int]:
        origins.append(dict(origin_fields()))
        return questions

    asked: Batches[int, int] = Batches(run, size=100, flights=1, waiting=100)
    with arising_from(Asking(request_id="r-1")):
        assert await asked.ask(1) == 1
    assert origins == [{}]


async def test_what_is_asked_in_one_turn_travels_together() -> None:
    answers = Answers()
    answers.gate.set()
    asked = batches(answers)
    assert await asyncio.gather(*[asked.ask(n) for n in range(10)]) == [n * 2 for n in range(10)]
    assert answers.batches == [list(range(10))]


async def test_a_question_never_joins_a_batch_that_has_begun() -> None:
    answers = Answers()
    asked = batches(answers)
    first = asked.ask(1)
    await turn()
    second, third = asked.ask(2), asked.ask(3)
    await turn()
    assert answers.batches == [[1]]
    answers.gate.set()
    assert [await each for each in (first, second, third)] == [2, 4, 6]
    assert answers.batches == [[1], [2, 3]]


async def test_no_more_batches_are_under_way_than_allowed() -> None:
    answers = Answers()
    asked = batches(answers, size=2, flights=2)
    waiting = [asked.ask(n) for n in range(7)]
    await turn()
    assert answers.batches == [[0, 1], [2, 3]]
    waiting += [asked.ask(n) for n in range(7, 9)]
    await turn()
    assert len(answers.batches) == 2
    answers.gate.set()
    assert await asyncio.gather(*waiting) == [n * 2 for n in range(9)]
    assert all(len(batch) <= 2 for batch in answers.batches)


async def test_a_batch_that_fails_fails_only_those_in_it() -> None:
    answers = Answers()
    answers.gate.set()
    asked = batches(answers, size=2)
    results = await asyncio.gather(*[asked.ask(n) for n in (13, 1, 2, 3)], return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError, int, int]


async def test_a_question_too_many_is_refused_at_once() -> None:
    answers = Answers()
    asked = batches(answers, size=1, waiting=2)
    under_way = asked.ask(0)
    await turn()
    queued = [asked.ask(1), asked.ask(2)]
    with pytest.raises(Unavailable):
        async with asyncio.timeout(5):
            await asked.ask(3)
    answers.gate.set()
    assert await asyncio.gather(under_way, *queued) == [0, 2, 4]


async def test_who_left_is_not_answered_and_disturbs_nobody() -> None:
    answers = Answers()
    asked = batches(answers)
    gone, there = asked.ask(1), asked.ask(2)
    await turn()
    gone.cancel()
    answers.gate.set()
    assert await there == 4


async def test_closing_fails_what_waits_and_what_is_under_way() -> None:
    answers = Answers()
    asked = batches(answers, size=1)
    under_way = asked.ask(1)
    await turn()
    waiting = asked.ask(2)
    await asked.close()
    results = await asyncio.gather(under_way, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
