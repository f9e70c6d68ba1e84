"""The OpenAPI document against the API itself: whatever is sent, the answer is one that the document tells of."""

import asyncio
import base64
import http.client
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, note
from hypothesis import settings as examples
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.settings import Settings
from tests.attacks.house import SECRET, House, Person, house, registered, webhook
from tests.support.command_routes import WEBHOOK
from tests.support.hostile import Sent, requests, spoilt
from tests.support.openapi import Operation, Reply, operations
from tests.support.serving import served

pytestmark = pytest.mark.anyio

CHECKS: Final[list[Any]] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MANY: Final = examples(phases=[Phase.generate], suppress_health_check=list(HealthCheck))
FEW: Final = examples(MANY, max_examples=max(1, MANY.max_examples // 5))
NOBODY: Final[Mapping[str, str]] = {}
LINE_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running API: who sends, by their credentials, and what there is, by the names of the parameters in paths."""

    port: int
    callers: list[Mapping[str, str]]
    ids: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def attacked(settings: Settings, log: Path) -> AsyncIterator[Target]:
    """The API in a process of its own: Hypothesis does not want anybody else to draw random numbers in this one."""
    settings = settings.model_copy(update={"access_token_seconds": 3600})
    async with house(settings) as made:
        callers: list[Mapping[str, str]] = [NOBODY, made.victim.headers, made.admin.headers]
        ids = await _things(made)
    secret = "whsec_" + base64.b64encode(SECRET).decode()
    told = {"WEIR_RATE_LIMITS": "off", "WEIR_PAYMENT_WEBHOOK_SECRET": secret}
    async with served(settings, log, **told) as api:
        document = httpx2.get(f"http://127.0.0.1:{api.port}/openapi.json").json()
        yield Target(port=api.port, callers=callers, ids=ids, document=document)


async def _things(made: House) -> Mapping[str, str]:
    """Of all that a path names, one that there is; the account and the session are nobody's who sends."""
    key = {"name": "backup", "scopes": ["orders:read"]}
    other = await registered(made.http, "other")
    sheet = {"content": b"sku,name,price,currency\nK,Kettle,9.90,EUR\n", "headers": {"content-type": "text/csv"}}
    return {
        "account_id": other.id,
        "product_id": made.product,
        "order_id": made.order,
        "code": "out-of-stock",
        "stream_id": made.order,
        "session_id": str(uuid4()),
        "key_id": await _made(made, made.victim, "/v1/me/api-keys", json=key),
        "webhook_id": await _made(made, made.admin, "/v1/webhooks", json=WEBHOOK),
        "delivery_id": str(uuid4()),
        **await _talk(made),
        "import_id": await _made(made, made.admin, "/v1/products/import", **sheet),
    }


async def _talk(made: House) -> Mapping[str, str]:
    """A room, and the place of what was said in it."""
    room = await _made(made, made.victim, "/v1/rooms", json={"name": "Tea drinkers"})
    said = await made.ask("POST", f"/v1/rooms/{room}/messages", by=made.victim, json={"text": "Green or black?"})
    assert said.is_success, said.text
    return {"room_id": room, "seq": str(said.json()["version"])}


async def _made(made: House, by: Person, path: str, **more: Any) -> str:
    answer = await made.ask("POST", path, by=by, **more)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
async def test_every_answer_is_one_that_the_document_tells_of(
    settings: Settings, tmp_path: Path, mode: GenerationMode
) -> None:
    async with attacked(settings, tmp_path / "log") as target:
        described = _described(target.url)
        assert len(described) > 20, "the document tells of all routes"
        assert {(each.method, each.path) for each in operations(target.document)} == described.keys()
        for operation in operations(target.document):
            if mode is GenerationMode.NEGATIVE and not operation.takes_anything:
                continue  # there is nothing that could be wrong
            if operation.is_endless:
                continue  # the test below asks it by a client that does not wait for the end
            strategy = described[operation.method, operation.path].as_strategy(generation_mode=mode)
            await asyncio.to_thread(_send_cases, target, operation, strategy)


def _described(url: str) -> dict[tuple[str, str], Any]:
    found = {}
    for each in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        assert isinstance(each, Ok), each
        operation = each.ok()
        found[operation.method.upper(), operation.path] = operation
    return found


def _send_cases(target: Target, operation: Operation, cases: st.SearchStrategy[Case[Any]]) -> None:
    """Each by each caller, as it is and with one value in its body that should not be there."""

    @FEW
    @given(case=cases, there=st.booleans(), data=st.data())
    def send(case: Case[Any], there: bool, data: Any) -> None:
        if there:
            case.path_parameters = {name: target.ids[name] for name in case.path_parameters}
        body = data.draw(spoilt(case.body)) if isinstance(case.body, dict | list) else None
        for caller in target.callers:
            answer = case.call(headers=dict(caller))
            case.validate_response(answer, checks=CHECKS)
            operation.assert_told(_told_by(answer))
            if body is not None:
                headers = [("Content-Type", operation.media[0]), *caller.items()]
                sent = Sent(method=case.method, target=_path_of(case), headers=headers, body=body)
                operation.assert_told(answered(target.port, sent))

    send()


def _path_of(case: Case[Any]) -> bytes:
    return case.formatted_path.encode("ascii")


def _told_by(answer: Any) -> Reply:
    headers = {name.lower(): ", ".join(values) for name, values in answer.headers.items()}
    return Reply(status=answer.status_code, headers=headers, body=answer.content)


async def test_no_request_at_all_is_answered_in_a_way_that_the_document_does_not_tell_of(
    settings: Settings, tmp_path: Path
) -> None:
    async with attacked(settings, tmp_path / "log") as target:
        for operation in operations(target.document):
            await asyncio.to_thread(_send_anything, target, operation)


def _send_anything(target: Target, operation: Operation) -> None:
    @MANY
    @given(request=requests(operation, target.ids), caller=st.sampled_from(target.callers))
    def send(request: Sent, caller: Mapping[str, str]) -> None:
        request = replace(request, headers=[*request.headers, *caller.items(), *_signature(request)])
        note(f"{request.encoded()[:2000]!r}")
        operation.assert_told(answered(target.port, request))

    send()


def _signature(request: Sent) -> list[tuple[str, str]]:
    """That of the payment provider, who may send nonsense too."""
    if b"/webhooks/" not in request.target or "webhook" in str(request.headers):
        return []
    return [pair for pair in webhook(request.body or b"").items() if pair[0].startswith("webhook")]


def answered(port: int, request: Sent) -> Reply:
    """What comes back on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), LINE_SECONDS) as line:
        with suppress(ConnectionError):  # it was refused before all of it was sent
            line.sendall(request.encoded())
        answer = http.client.HTTPResponse(line, method=request.method)
        answer.begin()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        endless = headers.get("content-type", "").startswith("text/event-stream")
        return Reply(status=answer.status, headers=headers, body=answer.read1() if endless else answer.read())
