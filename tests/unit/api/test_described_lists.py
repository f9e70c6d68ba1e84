"""Lists as the OpenAPI document tells of them: all of them are asked for and gone on with in the same way."""

from typing import Final

import pytest

from api.main import openapi_document
from tests.support.openapi import Operation, operations


def is_list(operation: Operation) -> bool:
    """Whether it answers with some items, and where the next ones are."""
    content = operation.told["responses"].get("200", {}).get("content", {})
    name = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    return {"items", "next"} <= set(operation.schemas.get(name, {}).get("properties", ()))


LISTS: Final = [operation for operation in operations(openapi_document()) if is_list(operation)]


def test_the_lists_are_found() -> None:
    assert {"/v1/products", "/v1/me/sessions", "/v1/me/api-keys", "/v1/events"} <= {each.path for each in LISTS}


@pytest.mark.parametrize("operation", LISTS, ids=lambda each: f"{each.method} {each.path}")
def test_every_list_takes_a_limit_and_a_cursor_and_refuses_what_it_does_not_know(operation: Operation) -> None:
    assert {"limit", "cursor"} <= set(operation.parameters("query"))
    assert "422" in operation.told["responses"]


@pytest.mark.parametrize("operation", LISTS, ids=lambda each: f"{each.method} {each.path}")
def test_a_page_that_the_client_has_already_is_not_sent_again(operation: Operation) -> None:
    assert "If-None-Match" in operation.parameters("header")
    assert "ETag" in operation.told["responses"]["200"]["headers"]
    assert "304" in operation.told["responses"]
