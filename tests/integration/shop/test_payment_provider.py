"""The provider over real HTTP: every way in which a server can answer, or not, and what is made of it in time."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from infra.payments.http_provider import MOST_BYTES, HttpPaymentProvider
from infra.payments.provider import Deferred, Refund, RefundOutcome, Refused, Returned
from tests.support.builders import euros
from tests.support.payment_desk import KEY, StandIn, raw_provider, stand_in

pytestmark = pytest.mark.anyio

REFUND = Refund(payment_id="pay-1", amount=euros("19.90"))
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DONE = orjson.dumps({"refund_id": "re_1", "payment_id": "pay-1", "amount": {"amount": "19.90", "currency": "EUR"}})


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[StandIn]:
    async with stand_in(tmp_path / "provider") as opened:
        yield opened


@asynccontextmanager
async def provider(url: str, key: SecretStr | None = KEY) -> AsyncIterator[HttpPaymentProvider]:
    opened = HttpPaymentProvider(url, key)
    try:
        yield opened
    finally:
        await opened.close()


async def asked(
    url: str, refund: Refund = REFUND, *, seconds: float = 5.0, key: SecretStr | None = KEY
) -> RefundOutcome:
    """One attempt, by a client of its own."""
    async with provider(url, key) as client:
        return await client.refund(refund, deadline=asyncio.get_running_loop().time() + seconds)


def told(content: bytes, head: bytes = OK) -> list[bytes]:
    return [head + b"Content-Length: %d\r\n\r\n" % len(content), content]


# The stand-in


async def test_money_goes_back_once_however_often_it_is_asked_for(desk: StandIn) -> None:
    first = await asked(desk.url)
    assert isinstance(first, Returned)
    assert [await asked(desk.url) for _ in range(3)] == [first] * 3
    (given,) = desk.given
    assert (given.refund_id, given.asked) == (first.reference, ("pay-1", "19.90", "EUR"))
    assert set(desk.calls) == {REFUND.key}


async def test_after_a_restart_the_answer_is_the_same(desk: StandIn) -> None:
    first = await asked(desk.url)
    await desk.stop()
    await desk.start()
    assert await asked(desk.url) == first
    assert len(desk.given) == 1


async def test_the_same_payment_with_another_amount_is_refused(desk: StandIn) -> None:
    await asked(desk.url)
    other = Refund(payment_id="pay-1", amount=euros("1.00"))
    assert await asked(desk.url, other) == Refused(reason="HTTP 409 idempotency-key-reused")
    assert len(desk.given) == 1


async def test_a_provider_in_trouble_leaves_the_money_owed(desk: StandIn) -> None:
    desk.tell(kind="fail", status=500)
    assert await asked(desk.url) == Deferred(reason="HTTP 500")
    desk.tell(kind="fail", status=429, retry_after=7)
    assert await asked(desk.url) == Deferred(reason="HTTP 429", retry_after=7.0)
    desk.tell(kind="fail", status=422, code="payment-too-old")
    assert await asked(desk.url) == Refused(reason="HTTP 422 payment-too-old")
    assert desk.given == []


async def test_a_provider_that_hangs_is_left_in_time_and_one_that_is_slow_is_waited_for(desk: StandIn) -> None:
    desk.tell(kind="hang")
    started = asyncio.get_running_loop().time()
    assert await asked(desk.url, seconds=0.3) == Deferred(reason="no answer in time")
    assert asyncio.get_running_loop().time() - started < 2
    desk.tell(kind="slow", seconds=0.3)
    assert isinstance(await asked(desk.url), Returned)


async def test_an_attempt_that_is_still_under_way_is_told_from_trouble(desk: StandIn) -> None:
    desk.tell(kind="slow", seconds=1.0)
    first = asyncio.create_task(asked(desk.url))
    await desk.called()
    second = await asked(desk.url)
    assert second == Deferred(reason="HTTP 409 idempotency-key-in-flight", retry_after=1.0, alone=True)
    assert isinstance(await first, Returned)


async def test_an_answer_that_is_lost_is_the_same_the_next_time(desk: StandIn) -> None:
    desk.tell(kind="lose", times=1)
    assert await asked(desk.url, seconds=0.3) == Deferred(reason="no answer in time")
    (given,) = desk.given
    assert await asked(desk.url) == Returned(reference=given.refund_id)


@pytest.mark.parametrize("key", [None, SecretStr("wrong")])
async def test_a_wrong_key_refuses_no_refund(desk: StandIn, key: SecretStr | None) -> None:
    assert await asked(desk.url, key=key) == Deferred(reason="HTTP 401")
    assert desk.calls == []


async def test_nobody_listens(desk: StandIn) -> None:
    await desk.stop()
    assert await asked(desk.url) == Deferred(reason="connection refused")
    await desk.start()
    assert isinstance(await asked(desk.url), Returned)


async def test_a_name_that_does_not_exist_is_a_provider_that_is_away() -> None:
    assert await asked("http://nowhere.invalid") == Deferred(reason="no such host is known")


async def test_nothing_is_asked_for_after_the_deadline(desk: StandIn) -> None:
    assert await asked(desk.url, seconds=-0.1) == Deferred(reason="too late to ask", alone=True)
    assert desk.calls == []


async def test_many_refunds_share_a_few_connections(desk: StandIn) -> None:
    async with provider(desk.url) as client:
        deadline = asyncio.get_running_loop().time() + 10
        refunds = [Refund(payment_id=f"pay-{number}", amount=euros("1.00")) for number in range(40)]
        outcomes = await asyncio.gather(*(client.refund(each, deadline=deadline) for each in refunds))
    assert {type(outcome) for outcome in outcomes} == {Returned}
    assert len(desk.given) == 40


# Whatever else may listen there


async def test_the_request_says_what_is_to_go_back_and_to_whom_we_are_known() -> None:
    async with raw_provider() as raw:
        raw.says = told(DONE)
        assert await asked(f"{raw.url}/base/") == Returned(reference="re_1")
    (request,) = raw.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /base/v1/refunds http/1.1"
    assert b"idempotency-key: " + REFUND.key.encode() in lines
    assert b"authorization: bearer sesame" in lines
    assert b"accept-encoding: identity" in lines
    assert orjson.loads(body) == {"payment_id": "pay-1", "amount": {"amount": "19.90", "currency": "EUR"}}


BOMB = gzip.compress(b" " * 20_000_000)
RUBBISH = {
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.9\r\n"], "RemoteProtocolError"),
    "hangs up at once": ([], "RemoteProtocolError"),
    "hangs up in the body": ([OK + b"Content-Length: 500\r\n\r\n{"], "RemoteProtocolError"),
    "endless headers": ([OK + b"X: " + b"x" * 200_000], "RemoteProtocolError"),
    "no JSON": (told(b"<html>Welcome!</html>"), "HTTP 200 that makes no sense"),
    "JSON that is nothing": (told(b"[[[]]]"), "HTTP 200 that makes no sense"),
    "JSON too deep": (told(b"[" * 60_000), "HTTP 200 that makes no sense"),
    "no text": (told(b"\xff\xfe\x00"), "HTTP 200 that makes no sense"),
    "packed": (told(gzip.compress(DONE), OK + b"Content-Encoding: gzip\r\n"), "HTTP 200 that makes no sense"),
    "a bomb": (told(BOMB, OK + b"Content-Encoding: gzip\r\n"), "HTTP 200 that makes no sense"),
    "too long by a byte": (told(DONE + b" " * (MOST_BYTES + 1 - len(DONE))), "HTTP 200 that makes no sense"),
}


@pytest.mark.parametrize(("says", "reason"), RUBBISH.values(), ids=RUBBISH)
async def test_rubbish_leaves_the_money_owed(says: list[bytes], reason: str) -> None:
    async with raw_provider() as raw:
        raw.says = says
        assert await asked(raw.url) == Deferred(reason=reason)


async def test_an_answer_as_long_as_it_may_be_is_read() -> None:
    async with raw_provider() as raw:
        raw.says = told(DONE + b" " * (MOST_BYTES - len(DONE)))
        assert await asked(raw.url) == Returned(reference="re_1")


async def test_a_body_of_ten_megabytes_is_not_read_to_its_end() -> None:
    async with raw_provider() as raw:
        raw.says = [OK + b"\r\n", *[b" " * 100_000] * 100]
        assert await asked(raw.url) == Deferred(reason="HTTP 200 that makes no sense")
        assert raw.written < 8_000_000


async def test_an_answer_that_drips_is_left_in_time() -> None:
    async with raw_provider() as raw:
        raw.says, raw.pause = [OK + b"Content-Length: 100000\r\n\r\n", *[b" "] * 1000], 0.05
        started = asyncio.get_running_loop().time()
        assert await asked(raw.url, seconds=0.5) == Deferred(reason="no answer in time")
        assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(desk: StandIn, status: int) -> None:
    async with raw_provider() as raw:
        raw.says = [b"HTTP/1.1 %d Go\r\nLocation: %b/v1/refunds\r\nContent-Length: 0\r\n\r\n" % (
            status, desk.url.encode())]  # fmt: skip
        assert await asked(raw.url) == Deferred(reason=f"HTTP {status}")
    assert (desk.calls, desk.given) == ([], [])


async def test_the_environment_sends_no_refund_elsewhere(desk: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_provider() as raw:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, raw.url)
        assert isinstance(await asked(desk.url), Returned)
        assert raw.requests == []


async def test_a_cancelled_attempt_leaves_its_place_to_the_next(desk: StandIn) -> None:
    async with provider(desk.url) as client:
        desk.tell(kind="hang")
        loop = asyncio.get_running_loop()
        for number in range(12):
            attempt = asyncio.create_task(client.refund(REFUND, deadline=loop.time() + 30))
            await desk.called(number + 1)
            attempt.cancel()
            await asyncio.wait([attempt])
        desk.tell()
        assert isinstance(await client.refund(REFUND, deadline=loop.time() + 5), Returned)
