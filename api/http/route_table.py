"""The edge's own table of routes: it walks a path's segments to the full template and the endpoint behind it."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from fastapi import FastAPI
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import Problem
from api.http.body_reader import BodyPolicy
from api.http.request_context import LimitTicket, RequestState
from api.http.response import Headers, RawResponse
from api.http.routing.call_plan import Check, Respond

F = TypeVar("F", bound=Callable[..., Any])

_PARAMETER: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")

UNMATCHED: Final = "unmatched"

TARGET: Final = "weir.target"
"""Where in a request's scope its target stands."""


class HotRead(Protocol):
    """Answers one route's GETs from bytes, before an endpoint is looked at. ``None`` hands the request to the endpoint.

    ``now`` is asked first and must not wait (an in-process cache). ``soon`` may: Redis, then Postgres, once for all
    that ask together. Both see the raw path arguments in the order of the template, and the request's headers (lower
    case, last of each name); conditions, tokens and rights are theirs to check, or to leave to the endpoint.
    Log, metrics and request id are the edge's.
    """

    def now(self, args: tuple[str, ...], headers: Mapping[bytes, bytes], scope: Scope, /) -> RawResponse | None: ...

    async def soon(
        self, args: tuple[str, ...], headers: Mapping[bytes, bytes], scope: Scope, /
    ) -> RawResponse | None: ...


class LimitPolicy(Protocol):
    """Counts the requests of the routes of one class."""

    def enter(self, source: str, headers: Mapping[bytes, bytes], /) -> LimitTicket:
        """A request has come; nothing is counted yet."""


TellProblem = Callable[[Problem, RequestState, Scope], RawResponse]
"""Makes an answer of a refusal."""


def problems_told_by(tell: TellProblem) -> Callable[[F], F]:
    """Mark an endpoint as one whose refusals are told in another form than a problem document: to a person, say."""

    def mark(endpoint: F) -> F:
        endpoint.__dict__["tell_problem"] = tell
        return endpoint

    return mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One method on one template, and the class of its limit.

    ``app`` is the route as FastAPI has built it. ``respond`` is the plan of its endpoint, ``check`` how strict it is
    where there is none, ``tell`` how it tells refusals, unless by problem documents; ``deprecation_headers`` are what
    each answer of a deprecated route has. A path with a ``pattern`` has parameters that are no whole segments.
    """

    method: str
    template: str
    names: tuple[str, ...]
    policy: BodyPolicy
    app: ASGIApp
    limit: str
    pattern: re.Pattern[str] | None
    respond: Respond | None
    check: Check
    tell: TellProblem | None = None
    deprecation_headers: Headers | None = None

    def plan_in(self, app: FastAPI) -> Respond | None:
        """What serves the endpoint at once; None without a plan, or while a dependency is overridden."""
        return None if app.dependency_overrides else self.respond


def has_whole_segments(path: str) -> bool:
    """Whether each parameter of the path is a whole segment, of whatever text."""
    return all("{" not in segment or _PARAMETER.fullmatch(segment) for segment in path.split("/"))


class TableRoute(BaseRoute):
    """The application's first route: what the edge has found in its table is not searched for among all others."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """It does if the edge has found a target that FastAPI need not search for."""
        target: Target | None = scope.get(TARGET)
        return (Match.NONE if target is None or target.pattern is not None else Match.FULL), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By the route that was found."""
        target: Target = scope[TARGET]
        await target.app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """The routes themselves know their paths."""
        raise NoMatchFound(name, path_params)


@dataclass(slots=True)
class _Node:
    literals: dict[str, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    template: str = UNMATCHED
    targets: dict[str, Target] = field(default_factory=dict)

    def child(self, segment: str) -> "_Node":
        if segment.startswith("{"):
            self.parameter = self.parameter or _Node()
            return self.parameter
        return self.literals.setdefault(segment, _Node())


Found = tuple[str, dict[str, Target], tuple[str, ...]]
"""A route's template, its targets by method, and the arguments in the path."""


class Table:
    """All routes of the process. A literal segment wins over a parameter."""

    def __init__(self, targets: Iterable[Target]) -> None:
        self._root = _Node()
        self._patterns: dict[re.Pattern[str], _Node] = {}
        for target in targets:
            self._add(target)
        self._static: dict[str, Found] = {}
        self._last: dict[str, tuple[str, dict[str, Target]]] = {}
        for node in self._nodes():
            self._shorten(node)

    def _shorten(self, node: _Node) -> None:
        """Most paths have no argument, or one at the end: those are found in one step, the rest by walking."""
        front, _, last = node.template.rpartition("/")
        if "{" not in node.template:
            self._static[node.template] = (node.template, node.targets, ())
        elif "{" not in front and last.startswith("{"):
            self._last[front] = (node.template, node.targets)

    def _add(self, target: Target) -> None:
        node = self._walked(target.template) if target.pattern is None else self._patterned(target.pattern)
        if target.method in node.targets:
            raise ValueError(f"{target.method} {target.template} is there twice")
        node.template = target.template
        node.targets[target.method] = target

    def _walked(self, template: str) -> _Node:
        node = self._root
        for segment in template.split("/"):
            if not has_whole_segments(segment):
                raise ValueError(f"{template}: a parameter must be a whole segment")
            node = node.child(segment)
        return node

    def _patterned(self, pattern: re.Pattern[str]) -> _Node:
        return self._patterns.setdefault(pattern, _Node())

    def find(self, path: str) -> Found:
        """The template of ``path`` (``unmatched`` if none), its targets by method, and the arguments in the path."""
        if (found := self._static.get(path)) is not None:
            return found
        front, _, last = path.rpartition("/")
        if last and (place := self._last.get(front)) is not None:
            return (*place, (last,))
        args: list[str] = []
        node = _descend(self._root, path.split("/"), 0, args) or self._matching(path)
        return (UNMATCHED, {}, ()) if node is None else (node.template, node.targets, tuple(args))

    def _matching(self, path: str) -> _Node | None:
        """FastAPI reads the arguments of such a path itself."""
        return next((node for pattern, node in self._patterns.items() if pattern.match(path)), None)

    def _nodes(self) -> Iterator[_Node]:
        """Every node that is a route's end."""
        nodes = [self._root]
        for node in nodes:
            if node.targets:
                yield node
            nodes.extend(node.literals.values())
            nodes.extend([node.parameter] if node.parameter else [])


def _descend(node: _Node, segments: list[str], at: int, args: list[str]) -> _Node | None:
    """Depth first, so that ``/products/popular`` and ``/products/{id}/image`` can live side by side."""
    if at == len(segments):
        return node if node.targets else None
    segment = segments[at]
    literal = node.literals.get(segment)
    if literal is not None and (found := _descend(literal, segments, at + 1, args)) is not None:
        return found
    if node.parameter is None or not segment:
        return None
    args.append(segment)
    found = _descend(node.parameter, segments, at + 1, args)
    if found is None:
        args.pop()
    return found


def target_of(targets: Mapping[str, Target], method: str) -> Target | None:
    """The target for ``method``; HEAD is answered as GET."""
    return targets.get(method) or (targets.get("GET") if method == "HEAD" else None)


def method_of(targets: Mapping[str, Target], method: str) -> Target:
    """The same. Raises ``method-not-allowed`` with Allow."""
    target = target_of(targets, method)
    if target is not None:
        return target
    allowed = sorted({*targets, *(["HEAD"] if "GET" in targets else [])})
    raise Problem("method-not-allowed", headers=((b"allow", ", ".join(allowed).encode("ascii")),))
