"""What FastAPI has read from a signature, as far as it is used here: ``APIRoute.dependant`` and its fields.

FastAPI documents the attribute, but no module to take its type from; so the shape is written down.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeGuard

from pydantic import BaseModel
from pydantic.fields import FieldInfo


class Declared(Protocol):
    """One parameter: ``name`` in the signature, ``alias`` in the request."""

    name: str
    alias: str
    field_info: FieldInfo


class Dependant(Protocol):
    """A function with all that it asks for."""

    call: Callable[..., Any] | None
    name: str | None
    dependencies: "Sequence[Dependant]"
    use_cache: bool
    own_oauth_scopes: Sequence[str] | None
    parent_oauth_scopes: Sequence[str] | None
    path_params: Sequence[Declared]
    query_params: Sequence[Declared]
    header_params: Sequence[Declared]
    cookie_params: Sequence[Declared]
    body_params: Sequence[Declared]
    request_param_name: str | None
    http_connection_param_name: str | None
    security_scopes_param_name: str | None
    background_tasks_param_name: str | None
    response_param_name: str | None
    websocket_param_name: str | None
    concurrency: object | None


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a parameter is declared as one model, not as values of some kind."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def below(dependant: Dependant) -> Iterator[Dependant]:
    """All dependencies, and theirs."""
    for child in dependant.dependencies:
        yield child
        yield from below(child)
