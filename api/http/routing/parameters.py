"""Parameters of a request, in the path, the query, headers and cookies, read strictly."""

import collections
import collections.abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from starlette.requests import Request

from api.errors import Problem
from api.http.routing.dependant import Declared, Dependant, is_model
from infra.schemas.forms import Form, form_of
from infra.schemas.validation_errors import Finding, findings

_MANY: Final = frozenset(
    {list, set, frozenset, tuple, collections.deque, collections.abc.Sequence, collections.abc.Set}
)

Pairs = Sequence[tuple[str, str]]
Read = Callable[[Request], Pairs]
"""All parameters of one place by their names; one that stands there twice comes twice."""

_READ: Final[Mapping[str, Read]] = {
    "path": lambda request: list(request.path_params.items()),
    "query": lambda request: request.query_params.multi_items(),
    "header": lambda request: request.headers.items(),
    "cookie": lambda request: list(request.cookies.items()),
}


class Parameters:
    """All parameters of one call. True if it takes any."""

    __slots__ = ("_places",)

    def __init__(self, dependant: Dependant) -> None:
        declared = {
            "path": dependant.path_params,
            "query": dependant.query_params,
            "header": dependant.header_params,
            "cookie": dependant.cookie_params,
        }
        self._places = tuple(_Place(place, fields) for place, fields in declared.items() if fields)

    def __bool__(self) -> bool:
        return bool(self._places)

    def read(self, request: Request) -> dict[str, Any]:
        """The keyword arguments. Raises :class:`~api.errors.Problem` ``invalid`` for what is not acceptable."""
        values: dict[str, Any] = {}
        errors: list[Finding] = []
        for place in self._places:
            errors += place.read(request, values)
        if errors:
            raise Problem("invalid", errors=findings(errors))
        return values


class _Place:
    """The parameters of one place."""

    __slots__ = ("_forms", "_lists", "_name", "_parameters", "_read", "_strict")

    def __init__(self, name: str, fields: Sequence[Declared]) -> None:
        declared = dict(_declared(fields))
        self._name = name
        self._read = _READ[name]
        self._strict = name in ("path", "query")
        forms = {alias: form_of(annotation) for alias, annotation in declared.items()}
        self._forms = {alias: form for alias, form in forms.items() if form is not None} if self._strict else {}
        self._lists = {alias for alias, annotation in declared.items() if _takes_many(annotation)}
        self._parameters = tuple(_Parameter(name, field) for field in fields)

    def read(self, request: Request, values: dict[str, Any]) -> list[Finding]:
        """Puts the arguments into ``values``; what is wrong with them."""
        given = self._read(request)
        errors: list[Finding] = [*self._repeated(given), *_misspelt(self._name, given, self._forms)]
        known = {error["loc"] for error in errors}
        grouped: dict[str, Any] = {}
        for name, text in given:
            if name in self._lists:
                grouped.setdefault(name, []).append(text)
            elif self._name == "header" and name in grouped:
                grouped[name] += f", {text}"  # lines are one list (RFC 9110, 5.3)
            else:
                grouped.setdefault(name, text)
        for parameter in self._parameters:
            # What the parsers find of parameters that were not written as they must be has been told already.
            errors += [error for error in parameter.take(grouped, values) if error["loc"] not in known]
        return errors

    def _repeated(self, given: Pairs) -> Iterator[Finding]:
        """Which of two values counts is for nobody to guess (OWASP ASVS 5, 15.3.7)."""
        if not self._strict or len({name for name, _ in given}) == len(given):
            return
        seen: set[str] = set()
        for name, _ in given:
            if name in seen and name not in self._lists:
                yield {"type": "repeated", "loc": (self._name, name), "msg": "This may stand there once."}
            seen.add(name)


class _Parameter:
    """One parameter of a signature: a value of its own, or a model of all that the query holds."""

    __slots__ = ("_alias", "_field", "_loc", "_name", "_whole", "validate")

    def __init__(self, place: str, field: Declared) -> None:
        told = field.field_info
        self._name, self._field = field.name, told
        self._alias = field.alias.lower() if place == "header" else field.alias
        self._whole = is_model(told.annotation)
        self._loc: tuple[str, ...] = (place,) if self._whole else (place, field.alias)
        adapter: TypeAdapter[Any] = TypeAdapter(_annotated(told.annotation, told.metadata))
        self.validate = adapter.validate_python

    def take(self, given: Mapping[str, Any], values: dict[str, Any]) -> Iterable[Finding]:
        """Puts the argument into ``values``; what is wrong with it."""
        value: Any = given
        if not self._whole:
            if self._alias not in given:
                return self._instead(values)
            value = given[self._alias]
        try:
            values[self._name] = self.validate(value)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            return [{**each, "loc": (*self._loc, *each["loc"])} for each in found]
        return ()

    def _instead(self, values: dict[str, Any]) -> Iterable[Finding]:
        if self._field.is_required():
            return [{"type": "missing", "loc": self._loc, "msg": "Field required"}]
        values[self._name] = self._field.get_default(call_default_factory=True, validated_data={})
        return ()


def _annotated(annotation: Any, metadata: Sequence[Any]) -> Any:
    return Annotated[(annotation, *metadata)] if metadata else annotation


def are_plain(dependant: Dependant) -> bool:
    """Whether they can be read here. The rarer ways to declare one are left to FastAPI."""
    return all(
        _is_plain(field.field_info, may_be_model=fields is dependant.query_params)
        for fields in (dependant.path_params, dependant.query_params, dependant.header_params, dependant.cookie_params)
        for field in fields
    )


def _is_plain(told: FieldInfo, *, may_be_model: bool) -> bool:
    models = [each for each in (told.annotation, *get_args(told.annotation)) if is_model(each)]
    aliased = told.validation_alias not in (None, told.alias)
    return not (aliased or told.validate_default) and (not models or (may_be_model and is_model(told.annotation)))


def _takes_many(annotation: Any) -> bool:
    """Whether it is a list of some kind, so that its name may stand there more than once."""
    return (get_origin(annotation) or annotation) in _MANY or any(map(_takes_many, get_args(annotation)))


def _misspelt(place: str, given: Pairs, forms: Mapping[str, Form]) -> Iterator[Finding]:
    """What is not written as numbers, ids and moments are."""
    for name, text in given:
        if (form := forms.get(name)) is not None and not form.fits(text):
            yield {"type": form.code, "loc": (place, name), "msg": "This is not written as it must be."}


def _declared(fields: Sequence[Declared]) -> Iterator[tuple[str, Any]]:
    """Each parameter by its name in the request, also those that a model holds together."""
    for field in fields:
        annotation = field.field_info.annotation
        if is_model(annotation):
            yield from ((each.alias or name, each.annotation) for name, each in annotation.model_fields.items())
        else:
            yield field.alias, annotation
