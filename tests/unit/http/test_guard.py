"""How much of a body is read, of which kind, and for how long."""

import asyncio

import pytest
from starlette.types import Message, Receive

from api.errors import Problem
from api.http.body_reader import (
    FORM_BODY,
    JSON_BODY,
    NOTHING,
    BodyPolicy,
    ClientGone,
    check_head,
    counted,
    drained,
    read_body,
)

pytestmark = pytest.mark.anyio


def receiving(*parts: bytes, ends: bool = True, hangs_up: bool = False) -> Receive:
    """Gives the parts one by one; then it is over, or never is, or the client hangs up."""
    left = list(parts)

    async def receive() -> Message:
        await asyncio.sleep(0)
        if left:
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}
        if hangs_up:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    return receive


LENGTH = {b"content-type": b"application/json", b"content-length": b"2"}
CHUNKED = {b"content-type": b"application/json", b"transfer-encoding": b"chunked"}
SMALL = BodyPolicy(media=JSON_BODY.media, limit=10, seconds=0.05)


async def test_a_body_is_read_in_all_its_parts() -> None:
    assert await read_body(CHUNKED, receiving(b"[", b"1", b"]"), SMALL) == b"[1]"


async def test_a_request_without_a_body_is_not_read() -> None:
    assert await read_body({b"content-length": b"0"}, receiving(ends=False), SMALL) == b""


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x" * 5, b"x" * 5, b"x")])
async def test_bytes_are_counted_whatever_the_length_says(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(Problem) as refused:
        await read_body(LENGTH, receiving(*parts), SMALL)
    assert refused.value.code == "content-too-large"


async def test_an_endless_body_is_given_up_at_the_limit() -> None:
    async def endless() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(Problem) as refused:
        await read_body(CHUNKED, endless, SMALL)
    assert refused.value.code == "content-too-large"


async def test_a_length_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(Problem) as refused:
        await read_body({**LENGTH, b"content-length": b"11"}, receiving(ends=False), SMALL)
    assert refused.value.code == "content-too-large"


@pytest.mark.parametrize("parts", [(), (b"[",)])
async def test_a_body_that_does_not_come_is_a_timeout(parts: tuple[bytes, ...]) -> None:
    async with asyncio.timeout(3):
        with pytest.raises(Problem) as refused:
            await read_body(CHUNKED, receiving(*parts, ends=False), SMALL)
    assert refused.value.code == "request-timeout"


async def test_a_client_that_hangs_up_is_no_error_of_ours() -> None:
    with pytest.raises(ClientGone):
        await read_body(CHUNKED, receiving(b"[", ends=False, hangs_up=True), SMALL)


async def busy() -> Message:
    """Gives way to others many times before it has something."""
    for _ in range(1000):
        await asyncio.sleep(0)
    return {"type": "http.request", "body": b"[]"}


@pytest.mark.parametrize("receive", [receiving(ends=False), busy], ids=["waiting", "giving way"])
async def test_a_cancelled_reader_is_cancelled_and_not_timed_out(receive: Receive) -> None:
    reading = asyncio.create_task(read_body(CHUNKED, receive, JSON_BODY))
    for _ in range(5):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize(
    "media",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; profile=x; charset=utf-8",
        "application/json; charset=utf8",
        'application/json; Charset="UTF8"',
    ],
)
async def test_json_in_utf_8_is_taken_however_it_is_spelled(media: str) -> None:
    check_head({b"content-length": b"2", b"content-type": media.encode()}, JSON_BODY)


@pytest.mark.parametrize(
    "media",
    [
        "",
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json;charset=latin-1",
        "application/json; charset=utf-8; charset=utf-7",
        "application/jsonp",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/plain, application/json",
    ],
)
async def test_other_media_types_are_refused(media: str) -> None:
    with pytest.raises(Problem) as refused:
        check_head({b"content-length": b"2", b"content-type": media.encode()}, JSON_BODY)
    assert refused.value.code == "unsupported-media-type"


async def test_json_is_no_form() -> None:
    with pytest.raises(Problem) as refused:
        check_head(LENGTH, FORM_BODY)
    assert refused.value.code == "unsupported-media-type"


@pytest.mark.parametrize("encoding", [b"identity", b"Identity", b"IDENTITY", b"identity, identity", b" identity,", b""])
async def test_a_body_to_which_nothing_was_done_is_taken(encoding: bytes) -> None:
    """RFC 9110, 8.4.1: codings are case-insensitive."""
    check_head({**LENGTH, b"content-encoding": encoding}, JSON_BODY)


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate", b"gzip, identity", b"identity, GZIP", b"x", b"*"])
async def test_encoded_bodies_are_refused(encoding: bytes) -> None:
    with pytest.raises(Problem) as refused:
        check_head({**LENGTH, b"content-encoding": encoding}, JSON_BODY)
    assert refused.value.code == "unsupported-media-type"


async def test_a_body_where_none_belongs_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        check_head(LENGTH, NOTHING)
    assert refused.value.code == "unexpected-body"


async def test_an_upload_is_counted_as_it_is_read() -> None:
    receive = counted(receiving(b"x" * 6, b"x" * 5), SMALL)
    assert (await receive())["body"] == b"x" * 6
    with pytest.raises(Problem) as refused:
        await receive()
    assert refused.value.code == "content-too-large"


async def test_an_upload_may_not_pause_for_long() -> None:
    receive = counted(receiving(b"x", ends=False), SMALL)
    await receive()
    with pytest.raises(Problem) as refused:
        await receive()
    assert refused.value.code == "request-timeout"


async def test_a_refused_body_is_read_away_so_that_the_answer_is_seen() -> None:
    assert await drained(CHUNKED, receiving(b"x" * 100_000, b"x" * 100_000))


@pytest.mark.parametrize(
    "headers", [{**LENGTH, b"content-length": b"99999999"}, {**CHUNKED, b"expect": b"100-continue"}]
)
async def test_what_is_too_much_is_not_read_away(headers: dict[bytes, bytes]) -> None:
    async def receive() -> Message:
        raise AssertionError("it was read")

    assert not await drained(headers, receive)


async def test_a_client_that_is_gone_needs_no_reading() -> None:
    assert not await drained(CHUNKED, receiving(b"x", ends=False, hangs_up=True))
