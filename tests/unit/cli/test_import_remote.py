"""What ``weir import`` does about a shop that is away, has no time, or says no."""

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest

from cli.importing.remote import TRIES, Refused, Remote, Upload

pytestmark = pytest.mark.anyio

ID = uuid4()
Answer = httpx2.Response | type[Exception]


class Told:
    """Answers requests with what it was told, and remembers them."""

    def __init__(self, answers: Sequence[Callable[[], httpx2.Response] | type[Exception]]) -> None:
        self._answers = list(answers)
        self.keys: list[str | None] = []
        self.bodies: list[bytes] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.keys.append(request.headers.get("idempotency-key"))
        self.bodies.append(await request.aread())
        answer = self._answers.pop(0)
        if isinstance(answer, type):
            raise answer("the line is dead")
        return answer()


def accepted() -> httpx2.Response:
    return httpx2.Response(202, json={"id": str(ID)})


def problem(status: int, code: str) -> Callable[[], httpx2.Response]:
    return lambda: httpx2.Response(status, json={"code": code, "detail": "No."})


async def upload(told: Told, tmp_path: Path, *, in_flight_seconds: float = 60.0) -> UUID:
    file = tmp_path / "products.csv"
    file.write_bytes(b"x" * 600_000)
    sent: list[int] = []
    transport = httpx2.MockTransport(told)
    remote = Remote("http://shop.test", {}, transport=transport, pause_seconds=0.0, in_flight_seconds=in_flight_seconds)
    async with remote:
        import_id = await remote.upload(Upload(file, "text/csv", 600_000), sent.append)
    assert sent[-1] == 600_000
    return import_id


async def test_an_upload_that_did_not_come_through_is_sent_again_under_the_same_key(tmp_path: Path) -> None:
    told = Told([httpx2.ConnectError, problem(503, "unavailable"), httpx2.ReadError, accepted])
    assert await upload(told, tmp_path) == ID
    assert len(set(told.keys)) == 1
    assert set(told.bodies) == {b"x" * 600_000}


IN_FLIGHT = problem(409, "idempotency-key-in-flight")


async def test_an_upload_that_the_shop_is_still_at_is_asked_for_until_it_has_become_an_import(tmp_path: Path) -> None:
    told = Told([httpx2.ReadTimeout, *[IN_FLIGHT] * (2 * TRIES), problem(503, "unavailable"), IN_FLIGHT, accepted])
    assert await upload(told, tmp_path) == ID
    assert len(set(told.keys)) == 1


async def test_an_upload_that_the_shop_never_comes_to_an_end_with_is_given_up_with_its_key(tmp_path: Path) -> None:
    told = Told([httpx2.ReadTimeout, IN_FLIGHT])
    with pytest.raises(Refused) as refused:
        await upload(told, tmp_path, in_flight_seconds=0.0)
    assert str(told.keys[0]) in str(refused.value)


async def test_another_conflict_is_a_no(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="too-many-imports"):
        await upload(Told([problem(409, "too-many-imports")]), tmp_path)


async def test_a_no_is_not_asked_again(tmp_path: Path) -> None:
    told = Told([problem(403, "insufficient-scope")])
    with pytest.raises(Refused, match="insufficient-scope"):
        await upload(told, tmp_path)


async def test_a_shop_that_stays_away_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(httpx2.ConnectError):
        await upload(Told([httpx2.ConnectError] * TRIES), tmp_path)
    with pytest.raises(Refused, match="HTTP 502"):
        await upload(Told([lambda: httpx2.Response(502, text="<html>")] * TRIES), tmp_path)


async def test_an_import_is_watched_up_to_its_end() -> None:
    states = ["waiting", "running", "running", "failed"]
    told = Told([lambda state=state: httpx2.Response(200, json={"state": state}) for state in states])  # type: ignore[misc]
    async with Remote("http://shop.test", {}, transport=httpx2.MockTransport(told), pause_seconds=0.0) as remote:
        assert [seen["state"] async for seen in remote.watch(ID)] == states


async def test_a_shop_that_is_away_is_named_when_that_is_found_out_and_once() -> None:
    told: list[str] = []

    async def refuse(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("all attempts failed") from ConnectionRefusedError(111, "refused")

    transport = httpx2.MockTransport(refuse)
    async with Remote("https://shop.test", {}, waiting=told.append, transport=transport, pause_seconds=0.0) as remote:
        with pytest.raises(httpx2.ConnectError) as away:
            await anext(remote.watch(ID))
        said = "the shop at shop.test:443 cannot be reached: connection refused"
        assert (remote.away(away.value), told) == (said, [f"{said}; it is tried again for a while"])
