"""What a change of a schema does to clients: by a table of kinds, and by a law that a validator is asked about."""

from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cli.release.change import Change, Way, Weight
from cli.release.schemas import Schemas

ASKED, ANSWERED = Way.ASKED, Way.ANSWERED
BREAKING, WARNING, COMPATIBLE = Weight.BREAKING, Weight.WARNING, Weight.COMPATIBLE

TEXT: Final[dict[str, Any]] = {"type": "string"}
WHOLE: Final[dict[str, Any]] = {"type": "integer"}
NONE: Final[dict[str, Any]] = {"type": "null"}


def thing(*required: str, **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required)}


def changes(before: Any, after: Any, way: Way, **named: tuple[Any, Any]) -> list[Change]:
    """From one schema to another; what is ``named`` is a schema of that name in both releases."""
    before_after = ({name: each[at] for name, each in named.items() if each[at] is not None} for at in (0, 1))
    old, new = ({"components": {"schemas": schemas}} for schemas in before_after)
    return list(Schemas(old, new).compared(before, after, "here", way))


def heaviest(found: list[Change]) -> Weight | None:
    return max((change.weight for change in found), default=None)


A, B = {"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 12}

KINDS: Final[list[tuple[str, Any, Any, Weight | None, Weight | None]]] = [
    # what changes, from, to, and how heavy that is where clients send it, and where they read it
    ("nothing", thing("a", a=TEXT), thing("a", a=TEXT), None, None),
    ("a field is gone", thing(a=TEXT, b=TEXT), thing(a=TEXT), BREAKING, BREAKING),
    ("a field is new", thing(a=TEXT), thing(a=TEXT, b=TEXT), COMPATIBLE, COMPATIBLE),
    ("a field is new, and required", thing(), thing("b", b=TEXT), BREAKING, COMPATIBLE),
    ("a field is required", thing(a=TEXT), thing("a", a=TEXT), BREAKING, None),
    ("a field may be left out", thing("a", a=TEXT), thing(a=TEXT), None, BREAKING),
    ("another type", thing(a=TEXT), thing(a=WHOLE), BREAKING, BREAKING),
    ("a wider type", WHOLE, {"type": "number"}, None, BREAKING),
    ("a narrower type", {"type": "number"}, WHOLE, BREAKING, None),
    ("of any type", TEXT, {}, None, BREAKING),
    ("of one type", {}, TEXT, BREAKING, None),
    ("may be null", TEXT, {"anyOf": [TEXT, NONE]}, None, BREAKING),
    ("may be null, said in another way", TEXT, {"type": ["string", "null"]}, None, BREAKING),
    ("is never null", {"anyOf": [TEXT, NONE]}, TEXT, BREAKING, None),
    ("the same union in another order", {"anyOf": [TEXT, NONE]}, {"type": ["null", "string"]}, None, None),
    ("a union changes within", {"anyOf": [A, NONE]}, {"anyOf": [B, NONE]}, None, WARNING),
    ("a value is gone", {"enum": ["a", "b"]}, {"enum": ["a"]}, BREAKING, WARNING),
    ("a value is new", {"enum": ["a"], "type": "string"}, {"enum": ["a", "b"]}, COMPATIBLE, WARNING),
    ("only some values", TEXT, {"enum": ["a", "b"]}, BREAKING, None),
    ("all values", {"enum": ["a", "b"]}, TEXT, None, BREAKING),
    ("another constant", {"const": "a"}, {"const": "b"}, BREAKING, BREAKING),
    ("a constant in other words", {"const": "a"}, {"enum": ["a"], "type": "string"}, None, None),
    ("a lower most", B, A, BREAKING, None),
    ("a higher most", A, B, None, WARNING),
    ("no most", A, TEXT, None, WARNING),
    ("a first most", TEXT, A, BREAKING, None),
    ("a higher least", {"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 2}, BREAKING, None),
    ("a lower least", {"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 0}, None, WARNING),
    ("a least that was always so", TEXT, {"type": "string", "minLength": 0}, None, None),
    ("a first pattern", TEXT, {"type": "string", "pattern": "a"}, BREAKING, None),
    ("no pattern", {"type": "string", "pattern": "a"}, TEXT, None, WARNING),
    ("another format", {"type": "string", "format": "date"}, {"type": "string", "format": "time"}, BREAKING, BREAKING),
    ("no format", {"type": "string", "format": "date"}, TEXT, None, BREAKING),
    ("another default", {"type": "integer", "default": 1}, {"type": "integer", "default": 2}, WARNING, None),
    ("other fields are refused", thing(), {**thing(), "additionalProperties": False}, BREAKING, None),
    ("other fields are taken", {**thing(), "additionalProperties": False}, thing(), None, None),
    ("other fields change", {"additionalProperties": TEXT}, {"additionalProperties": WHOLE}, BREAKING, BREAKING),
    ("other fields are gone", {"additionalProperties": TEXT}, {"additionalProperties": False}, BREAKING, BREAKING),
    ("members change", {"type": "array", "items": TEXT}, {"type": "array", "items": WHOLE}, BREAKING, BREAKING),
    ("something that is not understood", TEXT, {"type": "string", "not": {"const": "a"}}, BREAKING, BREAKING),
    ("other words", TEXT, {"type": "string", "description": "said better", "x-sunset": "2027-06-01"}, None, None),
    ("a field is deprecated", TEXT, {"type": "string", "deprecated": True}, COMPATIBLE, COMPATIBLE),
    ("put together in another way", thing("a", a=TEXT), {"allOf": [thing(a=TEXT), {"required": ["a"]}]}, None, None),
    ("a part of several is narrower", thing(a=TEXT), {"allOf": [thing(a=TEXT), thing(a=A)]}, BREAKING, None),
    ("nothing fits", TEXT, False, BREAKING, BREAKING),
]


@pytest.mark.parametrize(
    ("before", "after", "asked", "answered"), [kind[1:] for kind in KINDS], ids=[k[0] for k in KINDS]
)
def test_each_kind_of_change_weighs_what_it_does_to_clients(
    before: Any, after: Any, asked: Weight | None, answered: Weight | None
) -> None:
    assert heaviest(changes(before, after, ASKED)) == asked
    assert heaviest(changes(before, after, ANSWERED)) == answered


def test_a_change_is_told_at_the_name_of_its_schema_and_once() -> None:
    both = thing(one={"$ref": "#/components/schemas/Money"}, other={"$ref": "#/components/schemas/Money"})
    found = changes(both, both, ANSWERED, Money=(thing(amount=TEXT), thing(amount=WHOLE)))
    assert [(change.place, change.what) for change in found] == [("Money.amount", "was string, and is integer")]


def test_a_schema_that_has_another_name_is_the_same() -> None:
    one, other = ({"$ref": f"#/components/schemas/{name}"} for name in ("Price", "Money"))
    named: dict[str, Any] = {"Price": (thing(a=TEXT), None), "Money": (None, thing(a=TEXT))}
    assert changes(one, other, ANSWERED, **named) == []


@pytest.mark.parametrize("way", Way)
def test_a_tree_is_compared_once_however_deep_it_goes(way: Way) -> None:
    def tree(leaf: Any) -> Any:
        inner = {"$ref": "#/components/schemas/Tree"}
        several = {"type": "array", "items": {"anyOf": [inner, {"type": "null"}]}}
        return thing(leaf=leaf, left=inner, right={"allOf": [inner, {"description": "the other"}]}, more=several)

    root = {"$ref": "#/components/schemas/Tree"}
    assert changes(root, root, way, Tree=(tree(TEXT), tree(TEXT))) == []
    found = changes(root, root, way, Tree=(tree(TEXT), tree(WHOLE)))
    assert {change.place for change in found} >= {"Tree.leaf"}


def test_what_is_defined_by_itself_alone_is_refused() -> None:
    itself = {"$ref": "#/components/schemas/Itself"}
    with pytest.raises(ValueError, match="itself alone"):
        changes(itself, itself, ASKED, Itself=(itself, itself))


def test_a_reference_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="leads nowhere"):
        changes({"$ref": "#/components/schemas/Nobody"}, TEXT, ASKED)


def test_members_of_a_union_are_told_apart_by_their_mark() -> None:
    cat = thing("kind", kind={"const": "cat"}, lives=WHOLE)
    dog = thing("kind", kind={"const": "dog"}, tricks=WHOLE)
    slow_dog = thing("kind", kind={"const": "dog"}, tricks=TEXT)
    found = changes({"oneOf": [cat, dog]}, {"oneOf": [slow_dog, cat]}, ANSWERED)
    assert [change.place for change in found] == ["here.tricks"]
    (lost,) = changes({"oneOf": [cat, dog]}, {"oneOf": [cat]}, ASKED)
    assert (lost.weight, lost.what) == (BREAKING, "object is no longer taken")


def schemas(*, closed: bool) -> st.SearchStrategy[Any]:
    """Small ones, of few kinds of values, so that two of them have something to do with each other."""
    small, text = st.integers(-1, 2), st.sampled_from(["", "a", "ab"])
    numbers = st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])}, optional={"minimum": small, "maximum": small}
    )
    texts = st.fixed_dictionaries(
        {"type": st.just("string")}, optional={"minLength": st.integers(0, 2), "maxLength": st.integers(0, 2)}
    )
    enums = st.fixed_dictionaries({"enum": st.lists(text | small, min_size=1, max_size=3, unique=True)})
    leaves: st.SearchStrategy[Any] = numbers | texts | enums | st.just({"type": "null"}) | st.just({"const": "a"})

    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        fields = st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        required = st.lists(st.sampled_from("ab"), unique=True, max_size=2)
        things = st.builds(_thing, fields, required, st.just(closed))
        return (
            things
            | st.fixed_dictionaries(
                {"type": st.just("array"), "items": inner}, optional={"maxItems": st.integers(0, 2)}
            )
            | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)})
        )

    return st.recursive(leaves, grown, max_leaves=5)


def _thing(fields: Any, required: list[str], closed: bool) -> Any:
    needed = [name for name in required if name in fields]
    return {
        "type": "object",
        "properties": fields,
        "required": needed,
        **({"additionalProperties": False} if closed else {}),
    }


VALUES: Final = st.recursive(
    st.none() | st.integers(-2, 3) | st.sampled_from(["", "a", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def harmless(before: Any, after: Any, way: Way) -> bool:
    return (heaviest(changes(before, after, way)) or COMPATIBLE) is COMPATIBLE


@given(st.data(), schemas(closed=True), st.lists(VALUES, max_size=20))
def test_a_harmless_change_refuses_nothing_that_was_taken(data: st.DataObject, before: Any, values: list[Any]) -> None:
    after = data.draw(st.just(before) | schemas(closed=True) | st.sampled_from(list(_near(before))))
    assume(harmless(before, after, ASKED))
    assert [
        each for each in values if jsonschema_rs.is_valid(before, each) and not jsonschema_rs.is_valid(after, each)
    ] == []


@given(st.data(), schemas(closed=False), st.lists(VALUES, max_size=20))
def test_a_harmless_change_tells_nothing_that_was_never_told(
    data: st.DataObject, before: Any, values: list[Any]
) -> None:
    after = data.draw(st.just(before) | schemas(closed=False) | st.sampled_from(list(_near(before))))
    assume(harmless(before, after, ANSWERED))
    assert [
        each for each in values if jsonschema_rs.is_valid(after, each) and not jsonschema_rs.is_valid(before, each)
    ] == []


@given(schemas(closed=False), st.sampled_from(Way))
def test_a_schema_against_itself_has_no_change(schema: Any, way: Way) -> None:
    assert changes(schema, schema, way) == []


def _near(schema: Any) -> Iterator[Any]:
    """The schema with one keyword less or one bound moved, at any depth."""
    yield {"anyOf": [schema, {"type": "null"}]}
    for key, value in schema.items():
        yield {name: each for name, each in schema.items() if name != key}
        for near in _near_value(key, value):
            yield {**schema, key: near}


def _near_value(key: str, value: Any) -> Iterator[Any]:
    match key, value:
        case _, int():
            yield from (value + 1, max(value - 1, 0))
        case "items", dict():
            yield from _near(value)
        case "properties", dict():
            for name, field in value.items():
                yield {other: each for other, each in value.items() if other != name}
                yield from ({**value, name: inner} for inner in _near(field))
        case (("anyOf" | "enum"), [_, *rest]) if rest:
            yield rest
