"""The models that request bodies, forms and queries are built from: strict about shape, silent about values."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, get_args
from uuid import UUID

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from infra.identity.api_keys import ApiKey, prefix_of
from infra.schemas.money import Body, MoneyBody
from infra.schemas.text import trimmed

__all__ = [
    "LONGEST_NAME",
    "ApiKeyDocument",
    "Body",
    "Changes",
    "Line",
    "MoneyBody",
    "Name",
    "NoBody",
    "Params",
    "ReceiptDocument",
    "Secret",
    "secrets_of",
]

LONGEST_NAME: Final = 100

_SOUNDS_SECRET: Final = re.compile(r"password|passphrase|secret|token|credential|(^|_)(pin|otp)(_|$)")


class NoBody(Body):
    """What a command without fields takes: nothing, or an empty object."""


def _without_defaults(schema: dict[str, Any]) -> None:
    for told in schema.get("properties", {}).values():
        told.pop("default", None)


class Changes(Body):
    """What is to change of something: what is left out stays as it is.

    So the document tells no default of any field: clients that are generated from it send defaults along.
    """

    model_config = ConfigDict(json_schema_extra=_without_defaults)


class Params(BaseModel):
    """Query parameters or a form: everything arrives as text, unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Name = Annotated[str, trimmed(LONGEST_NAME)]
"""The shape of a short line. What may stand in one is said by the rules (:func:`domain.values.line`)."""

Line = Annotated[str, trimmed(200)]
"""The same, longer."""


class ReceiptDocument(BaseModel):
    """The answer to a write: it is stored, and this is where."""

    model_config = ConfigDict(title="Receipt")

    id: UUID
    """What was made or changed."""
    version: int
    """How many events the thing has now. In quotes it is what `If-Match` takes."""
    position: int
    """Where in the log the write stands. A read with the answer's `Consistency-Token` includes it."""


@dataclass(frozen=True)
class _Secrecy:
    """Marks a field, for the OpenAPI document and for :func:`secrets_of`."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "format": "password", "writeOnly": True}


Secret = Annotated[str, _Secrecy()]
"""A password, or a token that opens something: nothing is derived from it but what it is compared by."""


def secrets_of(body: Any) -> frozenset[str]:
    """The names of the fields of a body that are secrets.

    Raises :class:`TypeError` for a field that is called like one and not marked, or that is one deeper in the body: so
    none is taken for something that may be kept.
    """
    secrets: set[str] = set()
    for model in (body, *get_args(body)):
        if isinstance(model, type) and issubclass(model, BaseModel):
            schema = model.model_json_schema()
            secrets |= {name for name, field in schema.get("properties", {}).items() if _is_secret(field)}
            for name, field in _fields(schema):
                if (_is_secret(field) or _SOUNDS_SECRET.search(name)) and name not in secrets:
                    raise TypeError(
                        f"{model.__name__}: make {name} an api.schemas.Secret, and a field of the body itself"
                    )
    return frozenset(secrets)


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for each in (schema, *schema.get("$defs", {}).values()):
        yield from each.get("properties", {}).items()


def _is_secret(field: Mapping[str, Any]) -> bool:
    return field.get("format") == "password" or any(_is_secret(each) for each in field.get("anyOf", ()))


class ApiKeyDocument(BaseModel):
    """An API key as it may be seen."""

    id: UUID
    """The key's id, by which it is read and revoked. It opens nothing."""
    name: str
    """What it is for."""
    prefix: str
    """How the key begins, to tell it from others."""
    scopes: list[str]
    """What it may do, as long as its account may."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime | None
    """When it stops working; null if never."""
    last_used_at: datetime | None
    """When it was last shown, true to a minute; null if never."""

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyDocument":
        """The document of a row."""
        return cls(**key._asdict(), id=key.key_id, prefix=prefix_of(key.key_id))
