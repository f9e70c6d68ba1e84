"""Bodies that an endpoint reads itself: whole, some at a time, and none for ever; and answers that nobody takes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request
from starlette.types import Message, Receive

from api.errors import Problem
from api.http.body_reader import ClientGone
from api.http.compression import Compressor
from api.http.policies.security_headers import Rules
from api.http.request_context import RequestState
from api.http.response_writer import Reply
from api.http.upload_slots import UploadSlots
from infra.errors import TooBusy

pytestmark = pytest.mark.anyio


def request(receive: Receive) -> Request:
    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


def parts(*bodies: bytes) -> Receive:
    left = list(bodies)

    async def receive() -> Message:
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    return receive


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_body_is_given_whole() -> None:
    async with UploadSlots().body(request(parts(b"ab", b"", b"c"))) as content:
        assert content == b"abc"


async def test_one_too_many_waits_for_a_place() -> None:
    uploads = UploadSlots(most=1)

    async def last() -> bytes:
        async with uploads.body(request(parts(b"2"))) as content:
            return content

    async with uploads.body(request(parts(b"1"))):
        waiting = asyncio.create_task(last())
        await asyncio.wait([waiting], timeout=0.05)
        assert not waiting.done()
    assert await waiting == b"2"


async def test_who_waits_too_long_is_told_to_come_again() -> None:
    uploads = UploadSlots(most=2, wait=0.05)
    async with uploads.body(request(parts(b"1"))), uploads.body(request(parts(b"2"))):
        with pytest.raises(TooBusy):
            async with uploads.body(request(parts(b"3"))):
                pass
    async with uploads.body(request(parts(b"4"))) as content:
        assert content == b"4"


@pytest.mark.parametrize("fails", [never, parts()], ids=["slow", "broken"])
async def test_one_that_fails_makes_room_again(fails: Callable[[], Any]) -> None:
    uploads = UploadSlots(most=1, whole=0.05)
    for _ in range(3):
        with pytest.raises((Problem, IndexError)):
            async with uploads.body(request(fails)):
                pass
    async with uploads.body(request(parts(b"there"))) as content:
        assert content == b"there"


async def test_a_body_drop_by_drop_is_not_waited_for() -> None:
    async def drop() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b".", "more_body": True}

    with pytest.raises(Problem) as problem:
        async with UploadSlots(whole=0.1).body(request(drop)):
            pass
    assert problem.value.code == "request-timeout"


async def test_a_streamed_answer_that_nobody_takes_is_broken_off() -> None:
    async def stuck(_: Message) -> None:
        await asyncio.Event().wait()

    exchange = RequestState({}, lambda: "an-id")
    streaming = Reply(stuck, exchange, "GET", Rules(), Compressor(), send_seconds=0.05)
    with pytest.raises(ClientGone):
        await streaming({"type": "http.response.body", "body": b"x", "more_body": True})
