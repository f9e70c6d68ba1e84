"""A request that ends its sender's own access can be repeated under its key, and nothing else can be done any more."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from api.http.fast_route import BODY_METHODS
from api.main import create_app
from domain.accounts import ACCOUNTS, ActivateAccount, ChangeRoles, Role
from infra.settings import Settings
from tests.support.api_client import Process, endpoints
from tests.support.command_routes import ROUTES, Asked, Stage
from tests.support.house import PASSWORD
from tests.support.write_side import context

pytestmark = pytest.mark.anyio

OPEN_TO_THE_ENDED = {
    ("DELETE", "/v1/me"),
    ("DELETE", "/v1/me/sessions/{session_id}"),
    ("POST", "/v1/accounts/{account_id}/deactivate"),
    ("PUT", "/v1/accounts/{account_id}/roles"),
    ("DELETE", "/v1/accounts/{account_id}"),
}


async def admin(stage: Stage) -> tuple[str, Mapping[str, str]]:
    """An admin of one's own making, signed in: their id and credentials."""
    account_id, _ = await stage.person()
    roles = ChangeRoles(roles=(Role.ADMIN,))
    await stage.commands.handle((ACCOUNTS, UUID(account_id)), roles, context())
    return account_id, await stage.sign_in(account_id)


async def leaving(stage: Stage) -> dict[tuple[str, str], Asked]:
    """Requests by which somebody ends their own access."""
    asked: dict[tuple[str, str], Asked] = {}
    for route in (("DELETE", "/v1/me"), ("DELETE", "/v1/me/sessions/{session_id}")):
        asked[route] = await ROUTES[route](stage)
    for method, last, body in (
        ("POST", "/deactivate", None),
        ("PUT", "/roles", {"roles": ["customer"]}),
        ("DELETE", "", None),
    ):
        account_id, headers = await admin(stage)
        path = f"/v1/accounts/{account_id}{last}"
        asked[method, "/v1/accounts/{account_id}" + last] = Asked(method=method, path=path, body=body, headers=headers)
    return asked


async def test_a_request_that_ends_its_own_access_is_answered_again_under_its_key(
    stage: Stage, process: Process
) -> None:
    asked = await leaving(stage)
    assert asked.keys() == OPEN_TO_THE_ENDED
    first = {route: await each.send(stage.api, "k") for route, each in asked.items()}
    assert {route: answer.status_code for route, answer in first.items()} == {
        route: each.status for route, each in asked.items()
    }
    await process.state["identity"].revocations.look()
    for route, each in asked.items():
        again = await each.send(stage.api, "k")
        assert (again.status_code, again.content) == (each.status, first[route].content), route
        assert again.headers["idempotency-replayed"] == "true", route


@pytest.fixture
async def ended(stage: Stage, process: Process) -> Mapping[str, str]:
    """The credentials of an admin whose access has ended, by a request under the key ``k``."""
    account_id, headers = await admin(stage)
    asked = Asked(method="POST", path=f"/v1/accounts/{account_id}/deactivate", headers=headers)
    assert (await asked.send(stage.api, "k")).status_code == 200
    await process.state["identity"].revocations.look()
    return headers


def refused(answer: httpx2.Response) -> bool:
    told = answer.headers.get("www-authenticate", "")
    return answer.status_code == 401 and answer.json()["code"] == "unauthenticated" and "invalid_token" in told


async def test_whose_access_has_ended_reaches_no_route_with_any_key(
    stage: Stage, settings: Settings, ended: Mapping[str, str]
) -> None:
    """Every route that asks who is there: with the key that was used, with another, and with none."""
    position, open_to_them = await stage.position(), []
    for method, template in endpoints(create_app(settings)):
        path = template.replace("{", "").replace("}", "")
        for name in ("account_id", "session_id", "key_id", "product_id", "order_id", "import_id", "stream_id"):
            path = path.replace(name, str(uuid4()))
        body = _sound_body(method, template)
        for key in ({}, {"idempotency-key": "k"}, {"idempotency-key": "another"}):
            answer = await stage.api.request(method, path, json=body, headers={**ended, **key})
            if not refused(answer):
                open_to_them.append((method, template))
    assert {route for route in open_to_them if route not in PUBLIC} == set()
    assert await stage.position() == position


PUBLIC = {
    *(("GET", path) for path in ("/", "/problems", "/problems/{code}")),
    *(
        (method, f"/{page}")
        for method in ("GET", "POST")
        for page in ("verify-email", "reset-password", "password-reset")
    ),
    *(
        ("GET", path)
        for path in ("/.well-known/jwks.json", "/openapi.json", "/asyncapi.json", "/docs", "/docs/{asset}", "/metrics")
    ),
    *(("GET", path) for path in ("/docs/guide", "/docs/guide/{page}", "/live", "/live/{name}")),
    *(("GET", path) for path in ("/health", "/health/live", "/health/ready")),
    *(("GET", path) for path in ("/v1/products", "/v1/products/popular", "/v1/products/{product_id}")),
    ("GET", "/v1/rooms/{room_id}/live"),  # says of every room that a socket is there, and of none more
    ("GET", "/v1/products/{product_id}/image"),
    ("POST", "/v1/accounts"),
    *(("POST", f"/v1/auth/{name}") for name in ("token", "refresh", "logout", "verify-email")),
    *(("POST", f"/v1/auth/{name}") for name in ("password-reset", "password-reset/confirm")),
    ("POST", "/v1/webhooks/payments"),
}


def _sound_body(method: str, template: str) -> Any:
    sound = {"/v1/me": {"password": PASSWORD}, "/v1/accounts/{account_id}/roles": {"roles": ["admin"]}}
    return sound.get(template) if method in BODY_METHODS else None


async def test_whose_access_has_ended_learns_nothing_of_what_else_the_key_was_used_for(
    stage: Stage, process: Process
) -> None:
    account_id, headers = await admin(stage)
    another, _ = await stage.person()
    spent = Asked(method="POST", path=f"/v1/accounts/{another}/deactivate", headers=headers)
    assert (await spent.send(stage.api, "spent")).status_code == 200
    gone = Asked(method="POST", path=f"/v1/accounts/{account_id}/deactivate", headers=headers)
    assert (await gone.send(stage.api, "k")).status_code == 200
    await process.state["identity"].revocations.look()
    assert refused(await gone.send(stage.api, "spent")), "the key stands for another request"
    assert refused(await gone.send(stage.api, "unused"))
    assert refused(await stage.api.post(gone.path, headers=dict(headers))), "no key at all"
    other = Asked(method="PUT", path=f"/v1/accounts/{account_id}/roles", body={"roles": ["admin"]}, headers=headers)
    assert refused(await other.send(stage.api, "k"))


async def test_repeating_ones_leave_changes_nothing_for_who_came_back(stage: Stage, process: Process) -> None:
    account_id, headers = await admin(stage)
    gone = Asked(method="POST", path=f"/v1/accounts/{account_id}/deactivate", headers=headers)
    assert (await gone.send(stage.api, "k")).status_code == 200
    await process.state["identity"].revocations.look()
    await stage.commands.handle((ACCOUNTS, UUID(account_id)), ActivateAccount(), context())
    back = await stage.sign_in(account_id)
    assert (await gone.send(stage.api, "k")).headers["idempotency-replayed"] == "true"
    sessions = (await stage.api.get("/v1/me/sessions", headers=back)).json()["items"]
    assert len(sessions) == 1


async def test_a_token_that_is_none_of_ours_is_no_ended_one(stage: Stage, ended: Mapping[str, str]) -> None:
    forged = {"authorization": ended["authorization"][:-4] + "AAAA"}
    answer = await Asked(method="DELETE", path=f"/v1/accounts/{uuid4()}", headers=forged).send(stage.api, "k")
    assert refused(answer)
