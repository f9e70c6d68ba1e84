"""The client that is generated from the OpenAPI document offers all that the document tells of, and tells its types."""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from cli.main import build

DOCUMENT: Final = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())
OPERATIONS: Final[list[Mapping[str, Any]]] = [
    operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
]


def call_of(operation: Mapping[str, Any]) -> str:
    """The module of the client that makes the call."""
    return f"weir_client.api.{operation['tags'][0]}.{operation['operationId']}"


def test_every_operation_is_a_call_of_the_client() -> None:
    assert [call_of(each) for each in OPERATIONS if find_spec(call_of(each)) is None] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: str(operation["operationId"]))
def test_a_call_answers_with_the_document_s_own_shapes(operation: Mapping[str, Any]) -> None:
    answered = str(import_module(call_of(operation)).asyncio_detailed.__annotations__["return"])
    assert [shape for shape in {*shapes(operation), "Problem"} if f".{shape}" not in answered] == []


def shapes(operation: Mapping[str, Any]) -> Iterator[str]:
    """What a success is."""
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values() if status.startswith("2") else ():
            if reference := content["schema"].get("$ref"):
                yield reference.rpartition("/")[2]


def test_without_it_the_demo_says_where_it_comes_from_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "weir_client", None)
    ended = CliRunner().invoke(build(["demo"]), ["demo", "--data-dir", str(tmp_path)])
    assert (ended.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "run `make install`" in ended.output
