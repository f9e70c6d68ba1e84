"""Every command route keeps the contract's word on ``Idempotency-Key``: the table of routes, gone through as one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from pydantic import SecretStr

from api.http.fast_route import BODY_METHODS
from api.http.openapi import NOT_KEYED
from api.main import create_app
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.idempotency import KeysInFlight
from infra.settings import Settings
from tests.support.api_client import Process, api_process, endpoints
from tests.support.command_routes import ROUTES, Asked, Stage, staged
from tests.support.shop import SECRET

pytestmark = pytest.mark.anyio

BY_THE_KEY_OF_A_FORM = {("POST", page) for page in ("/verify-email", "/reset-password", "/password-reset")}
"""Pages for people, whose browser sends no header with a key: see ``test_mail_link_pages.py``."""


class Crash(Exception):
    """The process is no more."""


class Watched(KeysInFlight):
    """The keys in flight of a process that can be told to die before it begins, or when all is done but the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: CommandContext | None = None
        self.dies_before = self.dies_after = False

    @contextmanager
    def held(self, context: Any) -> Iterator[None]:
        if context.idempotency_key is None:  # a question that comes first, such as whether who asks may
            yield
            return
        self.seen = context
        if self.dies_before:
            raise Crash
        with super().held(context):
            yield
        if self.dies_after:
            raise Crash


@pytest.fixture
async def processes(settings: Settings) -> AsyncIterator[list[Process]]:
    """Two API processes."""
    changed = settings.model_copy(update={"payment_webhook_secret": SecretStr(SECRET), "log_level": "critical"})
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(api_process(changed)) for _ in range(2)]


@pytest.fixture
async def stage(settings: Settings, processes: list[Process]) -> AsyncIterator[Stage]:
    async with staged(settings, processes[0]) as opened:
        yield opened


@pytest.fixture
def watched(processes: list[Process]) -> Watched:
    """What holds the keys of the first process."""
    handler = processes[0].state["write_side"].handler
    handler.keys = keys = Watched()
    return keys


def told(answer: httpx2.Response) -> tuple[Any, ...]:
    """What a client sees of an answer, but for whether it is a repeated one. An API key is shown once, and so is the
    secret of a webhook."""
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body.pop("key", None)
        body.pop("secret", None)
    headers = ("location", "etag", "consistency-token")
    return answer.status_code, body, *(answer.headers.get(name) for name in headers)


def replayed(answer: httpx2.Response) -> bool:
    return answer.headers.get("idempotency-replayed") == "true"


def code(answer: httpx2.Response) -> Any:
    return answer.json().get("code") if answer.status_code >= 400 else answer.status_code


def test_every_command_route_is_in_the_table(settings: Settings) -> None:
    commands = {(method, path) for method, path in endpoints(create_app(settings)) if method in BODY_METHODS}
    assert commands == {*ROUTES, *NOT_KEYED, *BY_THE_KEY_OF_A_FORM}
    assert ROUTES.keys().isdisjoint(NOT_KEYED)


async def test_the_same_request_under_the_same_key_has_the_stored_answer_again(
    stage: Stage, processes: list[Process]
) -> None:
    wrong: dict[Any, list[Any]] = {}
    for route, prepare in ROUTES.items():
        asked, key = await prepare(stage), uuid4().hex
        first = await asked.send(stage.api, key)
        position = await stage.position()
        again = [await asked.send(process.client, key) for process in processes]
        fine = first.status_code == asked.status and not replayed(first)
        if not fine or any(not replayed(each) or told(each) != told(first) for each in again):
            wrong[route] = [(told(each), replayed(each)) for each in (first, *again)]
        if await stage.position() != position:
            wrong[route] = ["it was done again"]
    assert wrong == {}


async def test_another_request_under_the_same_key_is_refused_and_not_carried_out(stage: Stage) -> None:
    wrong = {}
    for route, prepare in ROUTES.items():
        asked, key = await prepare(stage), uuid4().hex
        assert (await asked.send(stage.api, key)).status_code == asked.status, route
        position = await stage.position()
        others = [asked.changed]
        if asked.headers:
            others.append(Asked(method="PATCH", path="/v1/me", body={"bio": "-"}, headers=_who(asked)))
        codes = [code(await other.send(stage.api, key)) for other in others]
        expected = {"idempotency-key-reused", "unauthenticated"} if asked.ends else {"idempotency-key-reused"}
        if not expected >= {*codes} or await stage.position() != position:
            wrong[route] = codes
    assert wrong == {}


def _who(asked: Asked) -> dict[str, str]:
    return {"authorization": asked.headers["authorization"]}


async def test_a_request_whose_key_is_in_flight_is_told_to_come_back(stage: Stage, watched: Watched) -> None:
    wrong = {}
    for route, prepare in ROUTES.items():
        asked, key = await prepare(stage), uuid4().hex
        watched.dies_before = True
        await asked.send(stage.api, key)
        watched.dies_before = False
        assert watched.seen is not None
        with KeysInFlight.held(watched, watched.seen):
            meanwhile = await asked.send(stage.api, key)
        after = await asked.send(stage.api, key)
        if code(meanwhile) != "idempotency-key-in-flight" or told(after)[0] != asked.status or replayed(after):
            wrong[route] = [code(meanwhile), code(after)]
    assert wrong == {}


async def test_after_a_crash_between_commit_and_answer_another_process_tells_the_truth_once(
    stage: Stage, processes: list[Process], watched: Watched
) -> None:
    wrong: dict[Any, list[Any]] = {}
    for route, prepare in ROUTES.items():
        asked, key = await prepare(stage), uuid4().hex
        watched.dies_after = True
        lost = await asked.send(stage.api, key)
        watched.dies_after = False
        position = await stage.position()
        again = await asked.send(processes[1].client, key)
        if (lost.status_code, again.status_code, replayed(again)) != (500, asked.status, True):
            wrong[route] = [code(lost), code(again), replayed(again)]
        if await stage.position() != position:
            wrong[route] = ["it was done again"]
    assert wrong == {}
