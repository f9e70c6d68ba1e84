"""Parameters of a request, in the path, the query, headers and cookies, read strictly."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from pydantic import BaseModel
from starlette.requests import Request

from api.errors import Problem
from infra.schemas.forms import Form, form_of
from infra.schemas.validation_errors import findings

_REPEATED: Final = "This may stand there once."


class Parameters:
    """All parameters of one call. True if it takes any."""

    __slots__ = ("_lists", "_others", "_path", "_path_forms", "_query", "_query_forms")

    def __init__(self, dependant: Dependant) -> None:
        self._path: Sequence[ModelField] = dependant.path_params
        self._query: Sequence[ModelField] = dependant.query_params
        self._others: Sequence[tuple[Sequence[ModelField], Callable[[Request], Any]]] = (
            (dependant.header_params, lambda request: request.headers),
            (dependant.cookie_params, lambda request: request.cookies),
        )
        declared = dict(_declared(self._query))
        self._path_forms = _forms(dict(_declared(self._path)))
        self._query_forms = _forms(declared)
        self._lists = {name for name, annotation in declared.items() if _is_list(annotation)}

    def __bool__(self) -> bool:
        return bool(self._path or self._query or any(fields for fields, _ in self._others))

    def read(self, request: Request) -> dict[str, Any]:
        """The keyword arguments. Raises :class:`~api.errors.Problem` ``invalid`` for what is not acceptable."""
        values: dict[str, Any] = {}
        errors: list[Any] = _misspelt("path", request.path_params.items(), self._path_forms)
        for field in self._path:
            values[field.name], wrong = field.validate(request.path_params[field.alias], loc=("path", field.alias))
            _add(errors, wrong)
        if self._query:
            given = request.query_params.multi_items()
            errors += [*self._repeated(given), *_misspelt("query", given, self._query_forms)]
            found, wrong = request_params_to_args(self._query, request.query_params)
            values.update(found)
            _add(errors, wrong)
        for fields, read in self._others:
            if not fields:
                continue
            found, wrong = request_params_to_args(fields, read(request))
            values.update(found)
            _add(errors, wrong)
        if errors:
            raise Problem("invalid", errors=findings(errors))
        return values

    def _repeated(self, given: Sequence[tuple[str, str]]) -> Iterator[Mapping[str, Any]]:
        """Which of two values counts is for nobody to guess (OWASP ASVS 5, 15.3.7)."""
        if len({name for name, _ in given}) == len(given):
            return
        seen: set[str] = set()
        for name, _ in given:
            if name in seen and name not in self._lists:
                yield {"type": "repeated", "loc": ("query", name), "msg": _REPEATED}
            seen.add(name)


def _misspelt(place: str, given: Any, forms: Mapping[str, Form]) -> list[Mapping[str, Any]]:
    """What is not written as numbers, ids and moments are."""
    return [
        {"type": form.code, "loc": (place, name), "msg": "This is not written as it must be."}
        for name, text in given
        if (form := forms.get(name)) is not None and not form.fits(text)
    ]


def _add(errors: list[Any], more: Sequence[Any]) -> None:
    """Adds what the parsers found of parameters that were written as they must be."""
    known = {error["loc"] for error in errors}
    errors += [error for error in more if error["loc"] not in known]


def _declared(fields: Sequence[ModelField]) -> Iterator[tuple[str, Any]]:
    """Each parameter by its name in the request, also those that a model holds together."""
    for field in fields:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            for name, each in annotation.model_fields.items():
                yield each.alias or name, each.annotation
        else:
            yield field.alias, annotation


def _forms(declared: Mapping[str, Any]) -> Mapping[str, Form]:
    found = {name: form_of(annotation) for name, annotation in declared.items()}
    return {name: form for name, form in found.items() if form is not None}


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(_is_list(each) for each in get_args(annotation))
