"""How numbers, ids and moments are written: what is taken, and what a lenient parser would have taken too."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from api.main import ROUTERS
from infra.schemas.forms import AS_NUMBER, FORMS, Id, Moment, form_of

Number = Annotated[Decimal, AS_NUMBER]

ID = "0192f0c1-aaaa-7000-8000-00000000000a"
TAKEN: dict[type, list[str]] = {
    int: ["0", "7", "-12", "9223372036854775807"],
    Decimal: ["0", "0.00", "-0.5", "10.05", "-1.50", "19.90", "12345678901234567890.123456"],
    bool: ["true", "false"],
    UUID: [ID, ID.upper()],
    datetime: ["2026-01-01T00:00:00Z", "2026-01-01t00:00z", "2026-01-01 00:00:00.123456789+02:00"],
}
REFUSED: dict[type, list[str]] = {
    int: [
        "",
        "1_0",
        "+5",
        " 10",
        "10 ",
        "10\n",
        "10.0",
        "1e3",
        "0x10",
        "٥",
        "５",
        "--1",
        "9" * 20,
        "0012",
        "00",
        "-0",
        "-01",
    ],
    Decimal: [
        "00",
        "00.5",
        "-0",
        "-0.00",
        "-00.5",
        "01",
        "",
        "1_0",
        "+5",
        ".5",
        "5.",
        "1e3",
        "٠.١",
        "NaN",
        "Infinity",
        "-inf",
        "1,5",
        "0x1",
        "1.0\n",
        " 1",
    ],
    bool: ["", "1", "0", "yes", "on", "True", "TRUE", "t", "f", "n"],
    UUID: [f"urn:uuid:{ID}", f"{{{ID}}}", ID.replace("-", ""), f" {ID}", f"{ID}\n", ID[:-1], ID[:-1] + "٣", "0" * 36],
    datetime: ["", "1798761600", "2026-01-01", "2026-01-01T00:00:00", "20260101T000000Z", "2026-01-01T00:00:00+0200"],
}


def cases(table: dict[type, list[str]]) -> list[Any]:
    return [pytest.param(kind, text, id=f"{kind.__name__} {text!a}") for kind, texts in table.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), cases(TAKEN))
def test_what_is_written_as_it_must_be_is_taken(kind: type, text: str) -> None:
    assert FORMS[kind].fits(text)


@pytest.mark.parametrize(("kind", "text"), cases(REFUSED))
def test_what_only_a_lenient_parser_takes_is_not(kind: type, text: str) -> None:
    assert not FORMS[kind].fits(text)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, int),
        (int | None, int),
        (Annotated[Decimal, "for a reason"] | None, Decimal),
        (Annotated[UUID | None, "for a reason"], UUID),
        (Moment | None, datetime),
        (bool, bool),
    ],
)
def test_a_parameter_is_known_by_how_it_is_declared(annotation: Any, kind: type) -> None:
    assert form_of(annotation) is FORMS[kind]


def test_text_has_no_form() -> None:
    assert form_of(str | None) is None


@pytest.mark.parametrize(
    ("annotation", "json", "value"),
    [
        (Id, f'"{ID}"', UUID(ID)),
        (Number, '"0.19"', Decimal("0.19")),
        (Number, "0.19", Decimal("0.19")),
        (Number, "1", Decimal(1)),
        (Moment, '"2026-01-01T01:00:00.1234567+01:00"', datetime(2026, 1, 1, microsecond=123456, tzinfo=UTC)),
    ],
)
def test_bodies_are_read_by_the_same_forms(annotation: Any, json: str, value: Any) -> None:
    assert TypeAdapter(annotation).validate_json(json, strict=True) == value


@pytest.mark.parametrize(
    ("annotation", "json", "code"),
    [
        (Id, f'"urn:uuid:{ID}"', "uuid_parsing"),
        (Id, "1", "uuid_parsing"),
        (Number, '"0_1"', "decimal_parsing"),
        (Number, '"٠.١"', "decimal_parsing"),
        (Number, "1e300", "decimal_parsing"),
        (Number, "true", "decimal_parsing"),
        (Moment, '"1798761600"', "datetime_parsing"),
        (Moment, "1798761600", "datetime_parsing"),
        (Moment, '"2026-02-30T00:00:00Z"', "datetime_parsing"),
        (Moment, '"0001-01-01T00:00:00+02:00"', "datetime_parsing"),
    ],
)
def test_and_refused_with_the_codes_that_clients_know(annotation: Any, json: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(annotation).validate_json(json, strict=True)
    assert refused.value.errors()[0]["type"] == code


def loose(annotation: Any, metadata: Any = ()) -> Iterator[type]:
    """The types in a body's field that only a lenient parser stands before."""
    if any(isinstance(each, BeforeValidator) for each in metadata):
        return
    if get_origin(annotation) is Annotated:
        yield from loose(get_args(annotation)[0], get_args(annotation)[1:])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from loose(field.annotation, field.metadata)
    elif annotation in (UUID, Decimal, datetime):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from loose(part)


def test_no_body_has_a_field_before_which_only_a_lenient_parser_stands() -> None:
    app = FastAPI()
    for routes in ROUTERS:
        app.include_router(routes)
    bodies = [
        field.field_info.annotation
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for field in context.dependant.body_params
    ]
    assert len(bodies) > 10
    assert [(body, kind) for body in bodies for kind in loose(body)] == []
