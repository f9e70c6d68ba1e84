"""Bodies as models: JSON and forms, read strictly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined
from starlette.requests import Request

from api.errors import Problem
from api.http.request_context import stands_for
from infra.schemas.strict_json import check_json
from infra.schemas.validation_errors import findings_of

MOST_FORM_FIELDS: Final = 50

ParseBody = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class BodyArgument:
    """How a body becomes the endpoint's argument ``name``; ``None`` for an endpoint without one.

    ``secrets`` are fields that no idempotency key stands for.
    """

    name: str | None
    parse: ParseBody
    secrets: frozenset[str] = frozenset()

    def read(self, request: Request, raw: bytes) -> Any:
        """The argument. Of a body with secrets the rest takes its place in what the request is known by."""
        value = self.parse(raw)
        if self.secrets and value is not None:
            # Only what was sent, so that a release with one more field knows the request again.
            told = value.model_dump_json(exclude=self.secrets, exclude_unset=True)
            stands_for(request.scope, told.encode("utf-8"))
        return value


def json_parser(annotation: Any, default: Any) -> ParseBody:
    """From bytes to a model, strictly; ``default`` stands for an empty body, ``PydanticUndefined`` refuses one."""
    validate = TypeAdapter(annotation).validator.validate_json

    def parse(body: bytes) -> Any:
        if not body:
            return _instead_of_nothing(default)
        check_json(body)
        try:
            return validate(body, strict=True)
        except ValidationError as error:
            raise Problem("invalid", errors=findings_of(error)) from None

    return parse


def check_syntax(body: bytes) -> None:
    """For a body that several arguments share: whether it is strict JSON."""
    if body:
        check_json(body)


def form_parser(annotation: Any, default: Any) -> ParseBody:
    """From ``application/x-www-form-urlencoded`` to a model. No field may come twice (RFC 6749 section 3.2)."""
    validate = TypeAdapter(annotation).validator.validate_python

    def parse(body: bytes) -> Any:
        if not body:
            return _instead_of_nothing(default)
        try:
            return validate(_form_fields(body))
        except ValidationError as error:
            raise Problem("invalid", errors=findings_of(error)) from None

    return parse


def _form_fields(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FORM_FIELDS
        )
    except ValueError:  # not UTF-8, or too many fields
        raise Problem("malformed-request", "The form cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem("malformed-request", "A field of the form stands there twice.")
    if any("\0" in text for pair in pairs for text in pair):
        raise Problem("malformed-request", "A field of the form contains NUL.")
    return fields


def _instead_of_nothing(default: Any) -> Any:
    if default is PydanticUndefined:
        raise Problem("invalid", errors=[{"pointer": "", "code": "missing", "detail": "A body is needed."}])
    return default
