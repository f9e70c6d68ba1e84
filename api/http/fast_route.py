"""Endpoints as the edge runs them: FastAPI reads the signature once, and a plan made from it serves every request.

FastAPI's own handler opens three exit stacks, parses the body with the standard library and solves dependencies by
recursion at each request. A plan does the same for what endpoints here use: path, query, header and cookie
parameters, one body model, and dependencies that are plain or async functions (plain ones run on the event loop and
must not block). What a plan cannot do is refused when the application is built, never half done.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_typed_return_annotation
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from fastapi.security import SecurityScopes
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from api.errors import Problem
from api.http.body_reader import FORM_BODY, JSON_BODY, NOTHING, BodyPolicy
from api.http.parameters import Parameters
from api.http.request_context import EXCHANGE, RequestState, stands_for
from api.http.response import JSON, Done, RawResponse, Receipt, json_answer
from api.http.route_table import Respond, Target
from api.schemas import NoBody, ReceiptDocument, secrets_of
from infra.schemas.strict_json import check_json
from infra.schemas.validation_errors import findings_of

MOST_FORM_FIELDS: Final = 50
BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

ParseBody = Callable[[bytes], Any]


class Route(APIRoute):
    """A route that the edge serves by a plan. What an endpoint returns is documented, not run through a model again."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        returned = get_typed_return_annotation(endpoint)
        if inspect.isclass(returned) and issubclass(returned, Receipt):
            options["response_model"] = ReceiptDocument
        elif returned is RawResponse and not isinstance(options.get("response_model"), type):
            options["response_model"] = None
        elif returned in (None, Done):
            options["response_model"] = None
            options["status_code"] = options.get("status_code") or 204
        super().__init__(path, endpoint, **options)


def router(prefix: str = "", *, tags: Sequence[str] = ()) -> APIRouter:
    """A router whose routes the edge can serve."""
    return APIRouter(prefix=prefix, tags=list(tags), route_class=Route, redirect_slashes=False)


def targets(app: FastAPI) -> Iterator[tuple[str, Target]]:
    """Every HTTP route of the application with its plan, as ``(method, target)``."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, WebSocketRoute):
            continue
        if not isinstance(context.original_route, Route):
            raise TypeError(f"{context.path}: make its router with api.http.fast_route.router")
        target = _target(context)
        yield from ((method, target) for method in context.methods or ())


def _target(context: RouteContext) -> Target:
    dependant: Dependant = context.dependant
    template = context.path_format or ""
    names = tuple(part[1:-1] for part in template.split("/") if part.startswith("{"))
    policy, body = _body(dependant, context)
    respond = plan(dependant, body, context.status_code or 200)
    return Target(template=template, names=names, policy=policy, respond=respond)


@dataclass(frozen=True, slots=True)
class _Body:
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


def _body(dependant: Dependant, context: RouteContext) -> tuple[BodyPolicy, _Body | None]:
    marked: BodyPolicy | None = getattr(context.endpoint, "body_policy", None)
    fields = dependant.body_params
    if len(fields) > 1 or any(getattr(field.field_info, "embed", None) for field in fields):
        raise TypeError(f"{context.path}: one model for the whole body")
    if fields:
        field, form = fields[0], isinstance(fields[0].field_info, params.Form)
        model = field.field_info.annotation
        parser = (form_parser if form else json_parser)(model, field.get_default())
        return marked or (FORM_BODY if form else JSON_BODY), _Body(field.name, parser, secrets_of(model))
    if marked is not None:
        return marked, None
    if not BODY_METHODS.isdisjoint(context.methods or ()):
        return JSON_BODY, _Body(None, json_parser(NoBody, None))
    return NOTHING, None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One call of a plan: which earlier results, parameters and constants it takes, and whether to await it."""

    call: Callable[..., Any]
    awaits: bool
    results: tuple[tuple[str, int], ...]
    requests: tuple[str, ...]
    constants: tuple[tuple[str, Any], ...]
    parameters: Parameters | None

    def arguments(self, request: Request, results: Sequence[Any]) -> dict[str, Any]:
        """The keyword arguments. Raises ``invalid`` for parameters that are not acceptable."""
        values: dict[str, Any] = dict(self.constants)
        for name, index in self.results:
            values[name] = results[index]
        for name in self.requests:
            values[name] = request
        if self.parameters is not None:
            values.update(self.parameters.read(request))
        return values


def plan(dependant: Dependant, body: _Body | None, status: int) -> Respond:
    """A function that answers a request to the endpoint behind ``dependant``: dependencies, parameters, body, call."""
    *steps, endpoint = _Planner().steps_of(dependant)
    if not endpoint.awaits:
        raise TypeError(f"{dependant.path}: an endpoint is an async function")

    async def respond(request: Request, raw: bytes) -> RawResponse | Response:
        results: list[Any] = []
        for step in steps:
            result = step.call(**step.arguments(request, results))
            results.append(await result if step.awaits else result)
        arguments = endpoint.arguments(request, results)
        if body is not None:
            value = body.read(request, raw)
            if body.name is not None:
                arguments[body.name] = value
        exchange: RequestState = request.scope[EXCHANGE]
        if exchange.recall is not None:
            return answer_of(await exchange.recall(request), status)
        return answer_of(await endpoint.call(**arguments), status)

    return respond


def answer_of(result: Any, status: int) -> RawResponse | Response:
    """What an endpoint returned, as a response: a receipt, an answer, a response, a model, JSON values, or nothing."""
    match result:
        case Receipt() if status != 204:
            return result.answer(status)
        case Receipt() | Done():
            return Done(replayed=result.replayed).answer(status)
        case RawResponse() | Response():
            return result
        case None:
            return RawResponse(status, [])
        case BaseModel():
            return RawResponse(status, [JSON], result.model_dump_json().encode("utf-8"))
    return json_answer(result, status)


class _Planner:
    """Puts a tree of dependencies into the order of calls; what is asked for twice is called once."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self._known: dict[tuple[Any, tuple[str, ...]], int] = {}

    def steps_of(self, dependant: Dependant) -> list[_Step]:
        """All calls, the endpoint's last."""
        self._steps.append(self._step(dependant))
        return self._steps

    def _index(self, dependant: Dependant) -> int:
        key = (dependant.call, _scopes(dependant))
        if dependant.use_cache and key in self._known:
            return self._known[key]
        if dependant.body_params:
            raise TypeError(f"{dependant.path}: only the endpoint itself takes the body")
        self._steps.append(self._step(dependant))
        return self._known.setdefault(key, len(self._steps) - 1)

    def _step(self, dependant: Dependant) -> _Step:
        _refuse_the_unsupported(dependant)
        results = [(child.name, self._index(child)) for child in dependant.dependencies]
        assert dependant.call is not None  # noqa: S101
        scopes = dependant.security_scopes_param_name
        return _Step(
            call=dependant.call,
            awaits=_is_async(dependant.call),
            results=tuple((name, index) for name, index in results if name is not None),
            requests=tuple(filter(None, (dependant.request_param_name, dependant.http_connection_param_name))),
            constants=((scopes, SecurityScopes(list(_scopes(dependant)))),) if scopes else (),
            parameters=Parameters(dependant) or None,
        )


def _scopes(dependant: Dependant) -> tuple[str, ...]:
    return (*(dependant.parent_oauth_scopes or ()), *(dependant.own_oauth_scopes or ()))


def _refuse_the_unsupported(dependant: Dependant) -> None:
    call = dependant.call
    generator = inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call)
    special = dependant.background_tasks_param_name or dependant.response_param_name or dependant.websocket_param_name
    if generator or special or dependant.concurrency is not None:
        raise TypeError(f"{dependant.path}: {call!r} asks for what a plan does not do (see api.http.fast_route)")


def _is_async(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
