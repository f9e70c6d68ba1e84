"""Webhooks of one's own, as the API has them: the secret is shown once, and nobody else's are there."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from infra.configs import cache_of
from infra.eventsourcing.read_cache import Refresher
from infra.settings import Settings
from tests.support.api_client import api_process
from tests.support.command_routes import WEBHOOK, Stage, staged
from tests.support.consumers import scene
from tests.support.webhooks import has_delivery

pytestmark = pytest.mark.anyio


OF_ONE: list[tuple[str, str, Any]] = [
    ("GET", "", None),
    ("PATCH", "", {}),
    ("DELETE", "", None),
    ("POST", "/rotate-secret", None),
]
"""What can be asked about one webhook."""


class Owner:
    """Somebody who sees what they have written."""

    def __init__(self, stage: Stage, headers: dict[str, str]) -> None:
        self.stage, self.headers = stage, headers

    async def ask(self, method: str, path: str = "", body: Any = None, **more: str) -> httpx2.Response:
        headers = {**self.headers, **{name.replace("_", "-"): value for name, value in more.items()}}
        answer = await self.stage.api.request(method, f"/v1/webhooks{path}", json=body, headers=headers)
        if "consistency-token" in answer.headers:
            self.headers["consistency-token"] = answer.headers["consistency-token"]
        return answer

    async def register(self, **changes: Any) -> dict[str, Any]:
        answer = await self.ask("POST", body={**WEBHOOK, **changes})
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        return told


@pytest.fixture
async def stage(settings: Settings) -> AsyncIterator[Stage]:
    """The API, and read models that follow."""
    settings = settings.model_copy(update={"log_level": "critical", "rate_limits": "off"})
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(scene(settings))
        await stack.enter_async_context(there.relay())
        cache = await stack.enter_async_context(Refresher(cache_of(settings), there.log).running())
        await stack.enter_async_context(there.projector(cache=cache))
        process = await stack.enter_async_context(api_process(settings))
        yield await stack.enter_async_context(staged(settings, process))


@pytest.fixture
async def owner(stage: Stage) -> Owner:
    return Owner(stage, await stage.member())


async def stored(stage: Stage) -> str:
    """All that is stored of events and of outcomes."""
    events = await stage.database.fetch("SELECT type, data::text, metadata::text FROM events")
    outcomes = await stage.database.fetch("SELECT outcome::text FROM commands")
    return repr([tuple(row) for row in (*events, *outcomes)])


async def test_a_webhook_is_shown_to_its_owner_without_its_secret(owner: Owner) -> None:
    made = await owner.register(description="the warehouse")
    shown = await owner.ask("GET", f"/{made['id']}")
    document = shown.json()
    assert {name: document[name] for name in ("id", "url", "event_types", "description", "active")} == {
        "id": made["id"],
        **WEBHOOK,
        "description": "the warehouse",
        "active": True,
    }
    assert (await owner.ask("GET")).json() == {"items": [document], "next": None}
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in shown.text + await stored(owner.stage)


async def test_a_repeated_request_makes_no_second_webhook_and_shows_no_secret(owner: Owner) -> None:
    key = uuid4().hex
    first, second = [await owner.ask("POST", body=WEBHOOK, idempotency_key=key) for _ in range(2)]
    assert second.headers["idempotency-replayed"] == "true"
    assert second.json() == {**first.json(), "secret": None}
    assert len((await owner.ask("GET")).json()["items"]) == 1


async def test_each_rotation_shows_another_secret(owner: Owner) -> None:
    made = await owner.register()
    answer = await owner.ask("POST", f"/{made['id']}/rotate-secret")
    again = await owner.ask("POST", f"/{made['id']}/rotate-secret")
    assert answer.status_code == again.status_code == 200
    assert len({made["secret"], answer.json()["secret"], again.json()["secret"]}) == 3


async def test_a_change_says_where_and_which_and_whether(owner: Owner) -> None:
    made = await owner.register()
    change = {"url": "https://b.example/", "event_types": ["product.added"], "description": "b", "active": False}
    changed = await owner.ask("PATCH", f"/{made['id']}", change)
    assert (changed.status_code, changed.json()["version"]) == (200, 3)
    document = (await owner.ask("GET", f"/{made['id']}")).json()
    assert {name: document[name] for name in change} == change
    assert document["deactivated_by"] == "owner"
    await owner.ask("PATCH", f"/{made['id']}", {"active": True, "description": None})
    document = (await owner.ask("GET", f"/{made['id']}")).json()
    assert (document["active"], document["deactivated_by"], document["description"]) == (True, None, None)


async def test_a_deleted_webhook_is_gone_and_makes_room(owner: Owner) -> None:
    made = await owner.register()
    assert (await owner.ask("DELETE", f"/{made['id']}")).status_code == 200
    assert (await owner.ask("GET")).json()["items"] == []
    for method, path, body in OF_ONE:
        assert (await owner.ask(method, f"/{made['id']}{path}", body)).status_code == 404, (method, path)


async def test_another_accounts_webhook_is_not_there(owner: Owner) -> None:
    made = await owner.register()
    other = Owner(owner.stage, {**await owner.stage.member(), "consistency-token": owner.headers["consistency-token"]})
    assert (await other.ask("GET")).json()["items"] == []
    for method, path, body in OF_ONE:
        assert (await other.ask(method, f"/{made['id']}{path}", body)).status_code == 404, (method, path)


async def test_a_customer_has_no_webhooks(stage: Stage) -> None:
    _, headers = await stage.person()
    customer = Owner(stage, headers)
    asked: list[tuple[str, str, Any]] = [("GET", "", None), ("POST", "", WEBHOOK), ("GET", f"/{UUID(int=1)}", None)]
    for method, path, body in asked:
        answer = await customer.ask(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-scope")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://hooks.example/"},
        {"url": "https://10.0.0.1/"},
        {"event_types": []},
        {"event_types": ["account.registered"]},
        {"event_types": ["order.overpaid"]},
        {"secret": "whsec_mine"},
    ],
)
async def test_a_webhook_that_cannot_be_is_refused_by_its_field(owner: Owner, wrong: dict[str, Any]) -> None:
    answer = await owner.ask("POST", body={**WEBHOOK, **wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(f"/{next(iter(wrong))}")


async def deliveries(owner: Owner, webhook_id: str, query: str = "") -> Any:
    answer = await owner.ask("GET", f"/{webhook_id}/deliveries{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_deliveries_are_told_with_what_came_of_them_and_are_sent_again(owner: Owner) -> None:
    webhook_id = (await owner.register())["id"]
    database = owner.stage.database
    owner_id = (await owner.ask("GET", f"/{webhook_id}")).json()["account_id"]
    _, delivery_id = await has_delivery(database, UUID(owner_id), UUID(webhook_id))
    answers = '[{"at": "2026-01-01T00:00:00+00:00", "status": 500, "ms": 3, "answer": "no", "error": null}]'
    await database.execute(f"UPDATE webhook_deliveries SET state = 'failed', settled_at = now(), answers = '{answers}'")
    (told,) = (await deliveries(owner, webhook_id, "?state=failed"))["items"]
    assert (told["id"], told["state"], told["due_at"]) == (str(delivery_id), "failed", None)
    assert told["answers"] == [{"at": "2026-01-01T00:00:00Z", "status": 500, "ms": 3, "answer": "no", "error": None}]
    again = f"/{webhook_id}/deliveries/{delivery_id}/send-again"
    assert (await owner.ask("POST", again)).status_code == 202
    (told,) = (await deliveries(owner, webhook_id))["items"]
    assert (told["state"], told["settled_at"], len(told["answers"])) == ("due", None, 1)
    assert (await deliveries(owner, webhook_id, "?state=failed"))["items"] == []
    other = Owner(owner.stage, {**await owner.stage.member(), "consistency-token": owner.headers["consistency-token"]})
    assert (await other.ask("POST", again)).status_code == 404
    assert (await other.ask("GET", f"/{webhook_id}/deliveries")).status_code == 404
    assert (await owner.ask("GET", f"/{webhook_id}/deliveries?state=lost")).status_code == 422


async def test_deliveries_go_on_behind_a_cursor(owner: Owner) -> None:
    webhook_id = (await owner.register())["id"]
    owner_id = (await owner.ask("GET", f"/{webhook_id}")).json()["account_id"]
    await has_delivery(owner.stage.database, UUID(owner_id), UUID(webhook_id))
    await owner.stage.database.execute(
        "INSERT INTO webhook_deliveries (delivery_id, webhook_id, position, stream_id, type, body)"
        " SELECT gen_random_uuid(), webhook_id, position + n, stream_id, type, body"
        " FROM webhook_deliveries, generate_series(1, 4) n"
    )
    seen, query = [], "?limit=2"
    while query:
        page = await deliveries(owner, webhook_id, query)
        seen += [item["position"] for item in page["items"]]
        query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
    assert seen == [5, 4, 3, 2, 1]
