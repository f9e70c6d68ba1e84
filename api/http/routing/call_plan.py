"""Calls of an endpoint and its dependencies, put in order once and carried out for every request.

FastAPI's own handler solves dependencies by recursion at each request and parses the body with the standard library.
A plan does the same for what endpoints here use: path, query, header and cookie parameters, one body model, async
functions, and answers of our own kinds. Whatever else an endpoint asks for has no plan, and is FastAPI's to serve.
"""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.security import SecurityScopes
from starlette.requests import Request
from starlette.responses import Response

from api.http.request_context import EndedSince
from api.http.response import response_of
from api.http.routing.body_parser import BodyArgument
from api.http.routing.dependant import Dependant, below
from api.http.routing.parameters import Parameters, are_plain

Respond = Callable[[Request, bytes], Coroutine[Any, Any, Response]]
Check = Callable[[Request, bytes], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One call of a plan: which earlier results, parameters and constants it takes."""

    call: Callable[..., Any]
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


def plan(dependant: Dependant, body: BodyArgument | None, status: int) -> Respond:
    """A function that answers a request to the endpoint behind ``dependant``: dependencies, parameters, body, call."""
    *steps, endpoint = _Planner().steps_of(dependant)
    check = check_of(dependant, body)

    async def respond(request: Request, raw: bytes) -> Response:
        results: list[Any] = []
        try:
            for step in steps:
                results.append(await step.call(**step.arguments(request, results)))
        except EndedSince as ended:
            check(request, raw)
            return response_of(await ended.recall(request), status)
        arguments = endpoint.arguments(request, results)
        if body is not None:
            argument = body.read(request, raw)
            if body.name is not None:
                arguments[body.name] = argument
        answer: Response = await endpoint.call(**arguments)
        return answer

    return respond


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
        self._steps.append(self._step(dependant))
        return self._known.setdefault(key, len(self._steps) - 1)

    def _step(self, dependant: Dependant) -> _Step:
        results = [(child.name, self._index(child)) for child in dependant.dependencies]
        assert dependant.call is not None  # noqa: S101
        scopes = dependant.security_scopes_param_name
        return _Step(
            call=dependant.call,
            results=tuple((name, index) for name, index in results if name is not None),
            requests=tuple(filter(None, (dependant.request_param_name, dependant.http_connection_param_name))),
            constants=((scopes, SecurityScopes(list(_scopes(dependant)))),) if scopes else (),
            parameters=Parameters(dependant) or None,
        )


def _scopes(dependant: Dependant) -> tuple[str, ...]:
    return (*(dependant.parent_oauth_scopes or ()), *(dependant.own_oauth_scopes or ()))


def can_be_planned(dependant: Dependant) -> bool:
    """Whether a plan does all that the endpoint and its dependencies ask for."""
    children = list(below(dependant))
    return all(map(_is_plain, (dependant, *children))) and not any(child.body_params for child in children)


def check_of(dependant: Dependant, body: BodyArgument | None) -> Check:
    """Is as strict about the endpoint's parameters and body as a plan, for what FastAPI then reads in its own way."""
    parameters = Parameters(dependant) if are_plain(dependant) else None

    def check(request: Request, raw: bytes) -> None:
        if parameters is not None:
            parameters.read(request)
        if body is not None:
            body.read(request, raw)

    return check


def _is_plain(dependant: Dependant) -> bool:
    special = (
        dependant.background_tasks_param_name,
        dependant.response_param_name,
        dependant.websocket_param_name,
        dependant.concurrency,
    )
    return not any(special) and _is_async(dependant.call) and are_plain(dependant)


def _is_async(call: Any) -> bool:
    """A plain function would block the event loop: FastAPI runs it in a thread. A generator has an end to come to."""
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)
