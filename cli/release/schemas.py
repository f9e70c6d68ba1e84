"""The comparison of two schemas: what a client that knows the older one would not bear of the newer one.

What is not understood (`not`, `if`, a keyword of tomorrow) must not have changed: nobody can say what that does.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from cli.release.change import Change, Node, Way, Weight, breaking, compatible, warning
from cli.release.shapes import UNIONS, Shape, name_of, shapes

LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
FORMS: Final[Mapping[str, Weight]] = {
    "format": Weight.BREAKING,
    "pattern": Weight.WARNING,
    "multipleOf": Weight.WARNING,
    "uniqueItems": Weight.WARNING,
}
"""What a value must keep to, and how heavy it is if one that is told no longer does."""
WORDS: Final = frozenset(
    {"title", "description", "examples", "example", "deprecated", "readOnly", "writeOnly", "discriminator", "$comment"}
)
"""What says nothing of values."""
JUDGED: Final = frozenset(
    {
        *LEAST,
        *MOST,
        *FORMS,
        *WORDS,
        *UNIONS,
        "type",
        "enum",
        "const",
        "default",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "allOf",
        "$ref",
    }
)

_UNSAID: Final[Mapping[str, Any]] = {"minLength": 0, "minItems": 0, "minProperties": 0, "uniqueItems": False}


Step = tuple[Any, Any, Way]


class Schemas:
    """Compares the schemas of two releases of one document, each pair that has names once for each way."""

    def __init__(self, before: Node, after: Node, within: Iterable[Step] = ()) -> None:
        self._before = before
        self._after = after
        self._seen: set[tuple[str, str, Way]] = set()
        self._within = [*within]

    def compared(self, before: Any, after: Any, place: str, way: Way) -> Iterator[Change]:
        """The changes; those of a schema with a name are told at that name, once."""
        names = name_of(before), name_of(after)
        if names[0] is not None:
            place = names[0]
            if names[1] is not None:
                if (key := (names[0], names[1], way)) in self._seen:
                    return
                self._seen.add(key)
        if (step := (before, after, way)) in self._within:  # a schema within itself
            return
        self._within.append(step)
        try:
            yield from self._paired(before, after, place, way)
        finally:
            self._within.pop()

    def _paired(self, before: Any, after: Any, place: str, way: Way) -> Iterator[Change]:
        old, new = shapes(self._before, before), shapes(self._after, after)
        if len(old) == len(new) == 1:
            yield from self._alike(old[0], new[0], place, way)
            return
        # Each shape that has to fit looks for one that it fits into.
        fitting, among = (old, new) if way is Way.ASKED else (new, old)
        for shape in fitting:
            partner = self._partner(shape, among, place, way)
            if partner is None:
                yield breaking(place, _no_longer(shape, way))
            else:
                one, other = (shape, partner) if way is Way.ASKED else (partner, shape)
                yield from self._alike(one, other, _named(place, one), way)

    def _partner(self, shape: Shape, among: list[Shape], place: str, way: Way) -> Shape | None:
        """The one that it fits into with the least harm; where it fits into none, one that is meant to be the same."""
        kin = [other for other in among if _is_within(shape, other)]
        harms = [self._harm(*((shape, other) if way is Way.ASKED else (other, shape)), place, way) for other in kin]
        if harms and min(harms) < Weight.BREAKING:
            return kin[harms.index(min(harms))]
        same = [other for other in kin if other.mark == shape.mark and (other.name == shape.name or len(kin) == 1)]
        return same[0] if same else None

    def _harm(self, before: Shape, after: Shape, place: str, way: Way) -> int:
        """How heavy the change would be. It is looked at for the sake of the choice: nothing of it counts as told."""
        trial = Schemas(self._before, self._after, self._within)
        return max((change.weight for change in trial._alike(before, after, place, way)), default=0)

    def _alike(self, before: Shape, after: Shape, place: str, way: Way) -> Iterator[Change]:
        if not _is_within(*_ordered(before, after, way)):
            yield breaking(place, f"was {_kind(before)}, and is {_kind(after)}")
            return
        yield from _values(before, after, place, way)
        yield from _bounds(before.schema, after.schema, place, way)
        yield from _forms(before.schema, after.schema, place, way)
        yield from _strange(before.schema, after.schema, place)
        yield from self._fields(before.schema, after.schema, place, way)
        yield from self._others(before.schema, after.schema, place, way)
        if "items" in before.schema or "items" in after.schema:
            items = before.schema.get("items", {}), after.schema.get("items", {})
            yield from self.compared(*items, f"{place}[]", way)

    def _fields(self, before: Node, after: Node, place: str, way: Way) -> Iterator[Change]:
        old, new = before.get("properties", {}), after.get("properties", {})
        needed, now_needed = set(before.get("required", ())), set(after.get("required", ()))
        for name in sorted(old.keys() | new.keys() | needed | now_needed):
            inner = f"{place}.{name}"
            if name in old and name not in new:
                yield breaking(inner, "is gone")
                continue
            if name in new and name not in old:
                yield compatible(inner, "is new")
            if way is Way.ASKED and name in now_needed - needed:
                yield breaking(inner, "has to be there now")
            if way is Way.ANSWERED and name in needed - now_needed:
                yield breaking(inner, "may be left out now")
            if name in old and name in new:
                yield from self.compared(old[name], new[name], inner, way)

    def _others(self, before: Node, after: Node, place: str, way: Way) -> Iterator[Change]:
        """Fields that have no names in the schema."""
        old, new = before.get("additionalProperties", True), after.get("additionalProperties", True)
        inner = f"{place}.*"
        if new is False and old is not False and (way is Way.ASKED or isinstance(old, dict)):
            yield breaking(inner, "fields of other names are refused" if way is Way.ASKED else "are gone")
        elif new is not False and old is not False:
            yield from self.compared(old, new, inner, way)


def _ordered(before: Shape, after: Shape, way: Way) -> tuple[Shape, Shape]:
    """The one that has to fit into the other first."""
    return (before, after) if way is Way.ASKED else (after, before)


def _is_within(inner: Shape, outer: Shape) -> bool:
    """Whether each value of one type is one of the other."""
    return outer.type is None or inner.type == outer.type or (inner.type, outer.type) == ("integer", "number")


def _kind(shape: Shape) -> str:
    return shape.type or "anything"


def _named(place: str, shape: Shape) -> str:
    return shape.name or place


def _no_longer(shape: Shape, way: Way) -> str:
    told = shape.name or (f"the value {shape.values[0]!r}" if shape.is_fixed and shape.values else _kind(shape))
    return f"{told} is no longer taken" if way is Way.ASKED else f"may be {told} now"


def _values(before: Shape, after: Shape, place: str, way: Way) -> Iterator[Change]:
    old, new = before.values, after.values
    if old is None and new is None:
        return
    if old is None or new is None:
        if (way is Way.ASKED) == (old is None):
            yield breaking(place, "takes only some values now" if way is Way.ASKED else "may have any value now")
        return
    gone, come = [each for each in old if each not in new], [each for each in new if each not in old]
    if before.is_fixed and gone:
        yield breaking(place, f"was always {old[0]!r}")
        return
    for value in gone:
        lost = breaking if way is Way.ASKED else warning
        yield lost(place, f"the value {value!r} is {'refused' if way is Way.ASKED else 'never told'} now")
    for value in come:
        gained = compatible if way is Way.ASKED else warning
        yield gained(place, f"has a new value {value!r}")


def _bounds(before: Node, after: Node, place: str, way: Way) -> Iterator[Change]:
    for names, sign in ((LEAST, 1), (MOST, -1)):
        for name in names:
            old, new = before.get(name, _UNSAID.get(name)), after.get(name, _UNSAID.get(name))
            if old == new:
                continue
            narrowed = new is not None and (old is None or (new - old) * sign > 0)
            if narrowed == (way is Way.ASKED):
                found = breaking if way is Way.ASKED else warning
                yield found(place, f"{name} was {_said(old)}, and is {_said(new)}")


def _forms(before: Node, after: Node, place: str, way: Way) -> Iterator[Change]:
    for name, weight in FORMS.items():
        old, new = before.get(name, _UNSAID.get(name)), after.get(name, _UNSAID.get(name))
        held = new if way is Way.ASKED else old  # what holds for the side that has to keep to it
        if old != new and held not in (None, False):
            heavy = Weight.BREAKING if way is Way.ASKED else weight
            yield Change(weight=heavy, place=place, what=f"{name} was {_said(old)}, and is {_said(new)}")
    if way is Way.ASKED and before.get("default") != after.get("default"):
        yield warning(place, f"{_said(after.get('default'))} is taken where it is left out")


def _strange(before: Node, after: Node, place: str) -> Iterator[Change]:
    for name in sorted((before.keys() | after.keys()) - JUDGED):
        if not name.startswith("x-") and before.get(name) != after.get(name):
            yield breaking(place, f"{name} has changed, and nobody can say what that does")
    if after.get("deprecated") and not before.get("deprecated"):
        yield compatible(place, "is deprecated")


def _said(value: Any) -> str:
    return "none" if value is None else repr(value)
