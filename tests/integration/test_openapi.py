"""The OpenAPI document against the API itself: whatever is sent, the answer is one that the document tells of."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.database import connect
from infra.settings import Settings
from projections.generations import install
from tests.serving import served

pytestmark = pytest.mark.anyio

EMAIL = "admin@weir.example"
PASSWORD = "long enough and never used before"
CHECKS: list[Any] = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SOME = examples(
    max_examples=10,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["valid", "invalid"])
async def test_every_answer_is_one_that_the_document_tells_of(
    settings: Settings, tmp_path: Path, mode: GenerationMode
) -> None:
    session = await connect(settings.database_url)
    await install(session)
    await session.close()
    told = {"WEIR_RATE_LIMITS": "off", "WEIR_ADMIN_EMAIL": EMAIL, "WEIR_ADMIN_PASSWORD": PASSWORD}
    # In a process of its own: Hypothesis does not want anybody else to draw random numbers in this one.
    async with served(settings, tmp_path / "log", **told) as api:
        await asyncio.to_thread(_send_all, f"http://127.0.0.1:{api.port}", mode)


def _send_all(base: str, mode: GenerationMode) -> None:
    headers = {"Authorization": f"Bearer {_token(base)}"}
    operations = list(_operations(base))
    assert len(operations) > 20, "the document tells of all routes"
    for operation in operations:

        @SOME
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Case[Any]) -> None:
            answer = case.call(headers=headers)
            case.validate_response(answer, checks=CHECKS)
            assert answer.status_code < 500 or answer.json()["code"] == "not-yet-visible"

        send()


def _operations(base: str) -> Iterator[Any]:
    for found in schemathesis.openapi.from_url(f"{base}/openapi.json").get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()


def _token(base: str) -> str:
    form = {"grant_type": "password", "username": EMAIL, "password": PASSWORD}
    answer = httpx2.post(f"{base}/v1/auth/token", data=form)
    token: str = answer.json()["access_token"]
    return token
