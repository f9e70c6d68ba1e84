"""What a route is, as far as its requests and answers follow from that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel

from api.dependencies import request_context
from api.http.body_reader import BodyPolicy
from api.http.fast_route import BODY_METHODS
from api.http.policies.deprecation import Deprecation, deprecation_of
from api.http.response import Done, Receipt
from api.http.routing.dependant import Declared, Dependant, below, is_model
from api.http.routing.targets import targets

JSON: Final = b"application/json"

NOT_KEYED: Final = frozenset(
    {
        ("POST", "/v1/auth/token"),
        ("POST", "/v1/auth/refresh"),
        ("POST", "/v1/auth/logout"),
        ("POST", "/v1/auth/password-reset"),
    }
)
"""Routes on which an ``Idempotency-Key`` changes no answer; the description of each says why."""

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One method of one path. ``model`` is what a success is documented as, ``status`` its status."""

    method: str
    path: str
    endpoint: Any
    dependant: Dependant
    policy: BodyPolicy
    limit: str
    model: Any
    status: int
    security: Sequence[Mapping[str, Sequence[str]]]

    @property
    def writes(self) -> bool:
        """Whether it is a command."""
        return self.method in BODY_METHODS

    @property
    def deprecation(self) -> Deprecation | None:
        """Since when it is deprecated, if it is."""
        return deprecation_of(self.endpoint)

    @property
    def takes_body(self) -> bool:
        """Whether a body may come along; a command without fields takes an empty object."""
        return bool(self.policy.media)

    @property
    def takes_json(self) -> bool:
        """Whether that is JSON."""
        return JSON in self.policy.media

    @property
    def checks_values(self) -> bool:
        """Whether there is a field or a parameter that can be wrong."""
        return (self.takes_body and not self.policy.stream) or any(map(_can_be_wrong, self._parameters()))

    @property
    def names_a_thing(self) -> bool:
        """Whether the path says which."""
        return "{" in self.path

    @property
    def asks_who(self) -> bool:
        """Whether credentials are needed."""
        return any("accessToken" in each for each in self.security)

    @property
    def asks_for_rights(self) -> bool:
        """Whether not all good credentials will do: some lack a scope, or an API key is none that is taken."""
        scoped = any(each.get("accessToken") for each in self.security)
        return self.asks_who and (scoped or not any("apiKey" in each for each in self.security))

    @property
    def is_counted(self) -> bool:
        """Whether there is a limit on its requests."""
        return self.limit != "free"

    @property
    def needs_servers(self) -> bool:
        """Whether it works with anything that the process has opened."""
        return self.is_counted and bool(self.dependant.dependencies)

    @property
    def waits(self) -> bool:
        """Whether it is a read that a consistency token can hold up."""
        return not self.writes and request_context in self._calls()

    @property
    def is_list(self) -> bool:
        """Whether it answers page by page."""
        return "cursor" in self._names()

    @property
    def has_a_tag(self) -> bool:
        """Whether there is one with its answer, and ``304`` for who has that already."""
        return self.waits or self.is_list

    @property
    def is_keyed(self) -> bool:
        """Whether an ``Idempotency-Key`` makes it answer once."""
        return self.writes and (self.method, self.path) not in NOT_KEYED

    @property
    def is_conditional(self) -> bool:
        """Whether ``If-Match`` makes it depend on a version: so are commands on a stream."""
        return self.is_keyed and signature(self.endpoint, eval_str=True).return_annotation in (Receipt, Done)

    @property
    def makes_something(self) -> bool:
        """Whether its answer says where that is."""
        return self.method == "POST" and self.status in (201, 202) and self.model is not None

    @property
    def body(self) -> Any:
        """The model of the body, if it has one."""
        declared = [field.field_info.annotation for field in self.dependant.body_params]
        return next((kind for each in declared for kind in (each, *get_args(each)) if is_model(kind)), None)

    @property
    def queries(self) -> Sequence[type[BaseModel]]:
        """The models that hold parameters of the query."""
        kinds = (field.field_info.annotation for each in self._dependants() for field in each.query_params)
        return [kind for kind in kinds if is_model(kind)]

    def answers_with(self, kind: type[BaseModel]) -> bool:
        """Whether a success is of this kind."""
        return is_model(self.model) and issubclass(self.model, kind)

    def _dependants(self) -> Iterator[Dependant]:
        yield self.dependant
        yield from below(self.dependant)

    def _calls(self) -> Iterator[Any]:
        return (each.call for each in self._dependants())

    def _parameters(self) -> Iterator[Declared]:
        for each in self._dependants():
            yield from (*each.path_params, *each.query_params, *each.header_params)

    def _names(self) -> Iterator[str]:
        for each in self._parameters():
            annotation = each.field_info.annotation
            yield from annotation.model_fields if is_model(annotation) else (each.alias,)


def facts_of(app: FastAPI, document: Mapping[str, Any]) -> Iterator[tuple[Facts, Operation]]:
    """Each operation of the document with what its route is."""
    found = {(target.method, target.template): target for target in targets(app)}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if not isinstance(route, APIRoute) or not context.include_in_schema:
            continue
        for method in context.methods or ():
            path = context.path_format or ""
            operation = document["paths"][path][method.lower()]
            facts = Facts(
                method=method,
                path=path,
                endpoint=context.endpoint,
                dependant=context.dependant,
                policy=found[method, path].policy,
                limit=found[method, path].limit,
                model=context.response_model,
                status=context.status_code or 200,
                security=operation.get("security", ()),
            )
            yield facts, operation


def _can_be_wrong(declared: Declared) -> bool:
    """A text of any kind cannot."""
    told = declared.field_info
    return told.annotation is not str or bool(told.metadata)
