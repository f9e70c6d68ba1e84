"""Every route that the API describes, against everything that should not be sent to it: no 5xx, nothing stored."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from domain.accounts import Role
from infra.configs import pool_of
from infra.eventsourcing.projections.generations import install
from infra.postgres.pool import Database
from infra.settings import Settings
from projections.registry import PROJECTIONS
from tests.support.openapi import codes_of, written_out
from tests.support.shop import Client, Shop, shop
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "garbage": b"\x00\xff{",
    "an unknown field": b'{"zq9": 1}',
    "a list": b"[]",
    "a word": b'"zq9"',
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"zq9": NaN}',
    "a duplicate key": b'{"zq9": 1, "zq9": 1}',
    "a lone surrogate": b'{"zq9": "\\udead"}',
    "NUL": b'{"zq9": "\\u0000"}',
    "too deep": b'{"zq9": %b1%b}' % (b"[" * 40, b"]" * 40),
    "beyond 64 bit": b'{"zq9": 99999999999999999999}',
    "two mebibytes": b'{"zq9": "%b"}' % (b"x" * 2 * 1024 * 1024),
}
ALSO = {"/v1/auth/logout": 204, "/v1/auth/password-reset": 202, "/v1/me": 403, "/v1/me/password": 403}
"""What else is right: two answer the same whether or not there is such a session (RFC 7009, 2.2) or account, and a
password may simply be the wrong one."""

VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    2**63 - 1,
    -(2**63),
    1e300,
    "",
    " ",
    "zq9",
    "\n",
    "ﷺ" * 500,
    "'; DROP TABLE events; --",
    [],
    {},
    [[]],
    {"zq9": {}},
)
ARGUMENTS = ("zq9", "0", "..", "%00", "%", "%2F", "%ED%A0%80", "-" * 36, "x" * 3000, str(uuid4()).upper())


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one path of the OpenAPI document."""

    method: str
    path: str
    description: Mapping[str, Any]
    fields: tuple[str, ...]

    def target(self, argument: str | None = None) -> str:
        """With every argument of the path filled in."""
        parts = [(argument or str(uuid4())) if part.startswith("{") else part for part in self.path.split("/")]
        return "/".join(parts)


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Shop]:
    """The API over empty read models, as ``weir migrate`` leaves them."""
    database = Database(pool_of(settings))
    async with database.session() as session:
        await install(session, PROJECTIONS)
    await database.close()
    async with shop(settings) as running:

        async def reads() -> bool:
            return (await running.http.get("/v1/products")).status_code == 200

        await eventually(reads)
        yield running


async def operations(api: Shop) -> list[Operation]:
    document = (await api.http.get("/openapi.json")).json()
    return list(_operations(document))


def _operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, description in methods.items():
            content = description.get("requestBody", {}).get("content", {})
            reference = json.dumps(content.get("application/json", {}))
            fields = [
                field
                for name, schema in document["components"]["schemas"].items()
                if f'/schemas/{name}"' in reference
                for field in schema.get("properties", {})
            ]
            described = written_out(document, description)
            yield Operation(method=method.upper(), path=path, description=described, fields=tuple(fields))


async def check(client: Client, operation: Operation, target: str, body: bytes, media: str = "application/json") -> int:
    """Send it; the answer is one that the document knows, and repeats nothing."""
    headers = {**client.headers, "content-type": media} if body else dict(client.headers)
    answer = await client.http.request(operation.method, target, content=body, headers=headers)
    said = f"{operation.method} {target[:80]} {body[:80]!r}: {answer.status_code} {answer.text[:300]}"
    assert answer.status_code < 500, said
    told = operation.description["responses"]
    # Who asks here has a token and no account, which nobody else can have: the log knows nothing of them.
    if str(answer.status_code) not in {*told, "404"}:
        assert answer.json()["code"] in codes_of(told["default"]), said
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", said
        details = [answer.json()["detail"], *(error["detail"] for error in answer.json().get("errors", []))]
        assert "zq9" not in str(details), said
    return answer.status_code


async def test_every_hostile_body_to_every_route_is_refused_and_stores_nothing(api: Shop) -> None:
    admin, before = await api.nobody(Role.ADMIN), await api.stored()
    for operation in await operations(api):
        if operation.method == "GET":
            continue
        for name, body in BODIES.items():
            status = await check(admin, operation, operation.target(), body)
            assert 400 <= status < 500, (operation.path, name)
    assert await api.stored() == before


async def test_every_wrong_value_in_every_field_is_refused_and_stores_nothing(api: Shop) -> None:
    admin, before = await api.nobody(Role.ADMIN), await api.stored()
    for operation in await operations(api):
        for field in operation.fields:
            for value in VALUES:
                status = await check(admin, operation, operation.target(), json.dumps({field: value}).encode())
                assert status in (401, 404, 422, ALSO.get(operation.path)), (operation.path, field, value)
    assert await api.stored() == before


async def test_every_other_kind_of_body_is_refused(api: Shop) -> None:
    admin = await api.nobody(Role.ADMIN)
    for operation in await operations(api):
        if operation.method != "GET":
            for media in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "zq9"):
                assert await check(admin, operation, operation.target(), b"{}", media) == 415


async def test_no_argument_or_query_is_an_error_of_ours(api: Shop) -> None:
    admin, before = await api.nobody(Role.ADMIN), await api.stored()
    for operation in await operations(api):
        if "{" in operation.path:
            for argument in ARGUMENTS:
                await check(admin, operation, operation.target(argument), b"")
        for parameter in operation.description.get("parameters", []):
            if parameter["in"] == "query":
                for value in (*map(str, VALUES), "%00", "9" * 4000):
                    target = f"{operation.target()}?{parameter['name']}={quote(value, safe='%')[:7000]}"
                    await check(admin, operation, target, b"")
    assert await api.stored() == before


async def test_without_credentials_no_route_stores_anything(api: Shop) -> None:
    nobody, before = Client(http=api.http, id=uuid4(), headers={}), await api.stored()
    for operation in await operations(api):
        if operation.description.get("security"):
            assert await check(nobody, operation, operation.target(), b"") == 401
    assert await api.stored() == before
