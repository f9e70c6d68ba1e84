"""The shapes that the OpenAPI document tells of, as programs read it that make clients."""

import re
from typing import Any

import pytest
from fastapi import FastAPI

from api.http import openapi
from api.main import ROUTERS


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI(**openapi.METADATA)
    for routes in ROUTERS:
        app.include_router(routes)
    return openapi.describe(app).openapi()


def _bodies(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, content["schema"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]


def test_every_shape_has_a_name_of_its_own_that_a_program_can_use(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    titles = [shape["title"] for shape in shapes.values()]
    assert sorted(titles) == sorted(set(titles))
    assert [name for name in shapes if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)] == []


def test_what_is_left_out_of_a_change_has_no_default_that_a_client_could_send(document: dict[str, Any]) -> None:
    references = [schema["$ref"].rpartition("/")[2] for method, _, schema in _bodies(document) if method == "patch"]
    assert len(references) >= 2
    for name in references:
        fields = document["components"]["schemas"][name]["properties"]
        assert [field for field, told in fields.items() if "default" in told] == []


def test_a_body_that_may_be_left_out_is_not_told_as_null(document: dict[str, Any]) -> None:
    assert [(method, path) for method, path, schema in _bodies(document) if "anyOf" in schema] == []
    cancel = document["paths"]["/v1/orders/{order_id}/cancel"]["post"]["requestBody"]
    assert not cancel.get("required")
