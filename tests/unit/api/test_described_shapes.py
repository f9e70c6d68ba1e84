"""The OpenAPI document, as people and programs read it: every word owed is there, and every example true."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import orjson
import pytest

from api.examples import examples
from api.http.openapi.problems import ANY, FOLLOWS
from api.main import openapi_document
from api.problem_kinds import STATUS
from api.schemas import Body
from tests.support.openapi import Operation, operations, written_out
from tests.unit.api.test_errors import refusals
from workers.imports.record_splitter import Record
from workers.imports.row_parser import csv_reader, ndjson_row

COMMITTED: Final = Path(__file__).parents[3] / "docs/openapi.json"
SENTENCE: Final = re.compile(r"[A-Z0-9`].*[.…`]", re.S)
NOT_TOLD: Final = {
    "already-exists": "ids are new",
    "currency-mismatch": "orders and payments are compared as a whole",
    "money-not-owed": "a worker's command",
    "stock-mismatch": "no order has ever promised more than it took",
}
"""Refusals that no request can meet."""

OF_SOCKETS: Final = {"foreign-origin", "upgrade-required"}
"""Said where a socket is, which OpenAPI has no word for."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document()


@pytest.fixture(scope="module")
def described(document: dict[str, Any]) -> list[Operation]:
    return operations(document)


def _bodies(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, content["schema"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]


def _contents(operation: Operation) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each body and each answer that is no problem, by where it stands."""
    holders = {"body": operation.told.get("requestBody", {})} | dict(operation.told["responses"])
    for where, holder in holders.items():
        for media, content in holder.get("content", {}).items():
            if "problem" not in media:
                yield f"{operation.method} {operation.path} {where}", media, content


def test_the_committed_document_is_the_one_that_is_served() -> None:
    assert orjson.loads(COMMITTED.read_bytes()) == openapi_document(), "run: weir openapi > docs/openapi.json"


def test_every_shape_has_a_name_of_its_own_that_a_program_can_use(document: dict[str, Any]) -> None:
    shapes = document["components"]["schemas"]
    assert {name: shape["title"] for name, shape in shapes.items()} == {name: name for name in shapes}
    assert [name for name in shapes if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)] == []


def test_every_operation_says_what_it_is_under_a_short_name_of_its_own(described: list[Operation]) -> None:
    names = Counter(each.told["operationId"] for each in described)
    assert set(names.values()) == {1}
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+){1,4}", name)] == []
    for each in described:
        assert each.told["summary"]
        assert each.told["description"].endswith((".", ")", "`")), each.path
        assert len(each.told["tags"]) == 1


def test_every_tag_is_explained(document: dict[str, Any], described: list[Operation]) -> None:
    assert {tag["name"] for tag in document["tags"]} == {tag for each in described for tag in each.told["tags"]}


def test_every_field_and_every_parameter_has_a_sentence(document: dict[str, Any], described: list[Operation]) -> None:
    fields = {
        f"{name}.{field}": told.get("description", "")
        for name, shape in document["components"]["schemas"].items()
        for field, told in shape.get("properties", {}).items()
    }
    parameters = {
        f"{each.path} {told['name']}": told.get("description", "")
        for each in described
        for told in each.told.get("parameters", ())
    }
    assert len(fields) > 200
    assert [name for name, said in (fields | parameters).items() if not SENTENCE.fullmatch(said)] == []


def test_every_shape_says_what_it_is(document: dict[str, Any]) -> None:
    assert [name for name, shape in document["components"]["schemas"].items() if not shape.get("description")] == []


def test_every_body_and_every_answer_has_an_example_that_fits_its_schema(
    document: dict[str, Any], described: list[Operation]
) -> None:
    schemas = {"components": {"schemas": document["components"]["schemas"]}}
    seen = 0
    for where, media, content in chain.from_iterable(map(_contents, described)):
        if content["schema"].get("format") == "binary" and media.startswith("image/"):
            continue
        if not where.endswith(("503", "default")):
            assert "example" in content, where
        if "example" in content:
            check = jsonschema_rs.validator_for({**schemas, **content["schema"]}, validate_formats=True)
            check.validate(content["example"])
            seen += 1
    assert seen > 60


def test_an_example_that_does_not_fit_is_found(document: dict[str, Any]) -> None:
    schemas = {"components": {"schemas": document["components"]["schemas"]}}
    check = jsonschema_rs.validator_for({**schemas, "$ref": "#/components/schemas/OrderBody"})
    with pytest.raises(jsonschema_rs.ValidationError):
        check.validate({"items": []})


def test_every_body_that_is_shown_would_be_taken() -> None:
    for model, example in examples().items():
        if isinstance(model, type) and issubclass(model, Body):
            model.model_validate_json(orjson.dumps(example))


def test_no_example_is_of_anything_that_there_is_not(described: list[Operation]) -> None:
    used = [content["example"] for each in described for _, _, content in _contents(each) if "example" in content]
    assert [key for key, example in examples().items() if example not in used] == []


def test_every_problem_has_an_example_that_fits(document: dict[str, Any]) -> None:
    schemas = {"components": {"schemas": document["components"]["schemas"]}}
    check = jsonschema_rs.validator_for({**schemas, "$ref": "#/components/schemas/Problem"})
    assert document["components"]["examples"].keys() == STATUS.keys()
    for code, example in document["components"]["examples"].items():
        check.validate(example["value"])
        assert example["value"]["code"] == code


def _record(line: bytes) -> Record:
    return Record(line=1, raw=line, end=len(line), next_line=2)


def test_files_that_are_shown_can_be_imported() -> None:
    shown = examples()
    header, row = map(_record, shown["text/csv"].encode().splitlines())
    sheet, line = csv_reader(header)(row), ndjson_row(_record(shown["application/x-ndjson"].encode().strip()))
    assert sheet is not None
    assert line is not None
    assert sheet.model_copy(update={"description": line.description}) == line


def test_no_two_operations_need_tell_of_the_same_problems(described: list[Operation]) -> None:
    assert len({str(each.problems()) for each in described}) > len(described) // 2


def test_every_code_is_told_of_by_some_route(described: list[Operation]) -> None:
    told = {code for each in described for codes in each.problems().values() for code in codes}
    assert told | set(ANY) | NOT_TOLD.keys() | OF_SOCKETS == STATUS.keys()
    assert told.isdisjoint(NOT_TOLD.keys() | set(ANY) | OF_SOCKETS)


def test_every_refusal_of_the_rules_is_told_of_by_some_route_that_may_meet_it(described: list[Operation]) -> None:
    told = {code for each in described for codes in each.problems().values() for code in codes}
    assert {kind.code for kind in refusals()} - told == NOT_TOLD.keys()


def test_what_is_left_out_of_a_change_has_no_default_that_a_client_could_send(document: dict[str, Any]) -> None:
    references = [schema["$ref"].rpartition("/")[2] for method, _, schema in _bodies(document) if method == "patch"]
    assert len(references) >= 2
    for name in references:
        fields = document["components"]["schemas"][name]["properties"]
        assert [field for field, told in fields.items() if "default" in told] == []


def test_what_may_be_left_out_of_a_request_is_not_told_as_null(
    document: dict[str, Any], described: list[Operation]
) -> None:
    assert [(method, path) for method, path, schema in _bodies(document) if "anyOf" in schema] == []
    for each in described:
        for told in each.told.get("parameters", ()):
            assert {"type": "null"} not in told["schema"].get("anyOf", ()), (each.path, told["name"])
            assert told["schema"].get("default") != "", (each.path, told["name"])
    cancel = document["paths"]["/v1/orders/{order_id}/cancel"]["post"]["requestBody"]
    assert not cancel.get("required")


def test_every_body_says_how_large_it_may_be(described: list[Operation]) -> None:
    for each in described:
        if body := each.told.get("requestBody"):
            assert re.search(r"at most .*[KM]iB", body["description"], re.I | re.S), each.path


def test_a_receipt_says_what_is_in_it(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["Receipt"]["properties"].keys() == {"id", "version", "position"}
    assert schemas["OrderReceipt"]["properties"].keys() >= {"id", "order_no", "total", "expires_at"}
    assert set(schemas["OrderReceipt"]["required"]) == schemas["OrderReceipt"]["properties"].keys()


def test_the_providers_messages_are_authenticated_by_a_scheme_of_their_own(document: dict[str, Any]) -> None:
    payment = written_out(document, document["paths"]["/v1/webhooks/payments"]["post"])
    ((name, scopes),) = [pair for each in payment["security"] for pair in each.items()]
    assert (document["components"]["securitySchemes"][name]["name"], scopes) == ("webhook-signature", [])
    headers = {each["name"] for each in payment["parameters"] if each["in"] == "header"}
    assert headers >= {"webhook-id", "webhook-timestamp", "webhook-signature"}


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref":"#/([^"]+)"', orjson.dumps(document).decode()):
        part = document
        for step in reference.split("/"):
            part = part[step]


def test_what_follows_from_a_route_is_known_of_it() -> None:
    told = list(chain.from_iterable(FOLLOWS.values()))
    assert len(told) == len(set(told))
    assert set(told) <= STATUS.keys()
