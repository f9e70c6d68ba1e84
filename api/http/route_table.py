"""The edge's own table of routes: it walks a path's segments to the full template and the endpoint behind it."""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from api.errors import Problem
from api.http.body_reader import BodyPolicy
from api.http.request_context import Visit
from api.http.response import RawResponse

_PARAMETER: Final = re.compile(r"\{[a-z_]+\}")

UNMATCHED: Final = "unmatched"

Respond = Callable[[Request, bytes], Coroutine[Any, Any, RawResponse | Response]]


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


class Gate(Protocol):
    """Counts the requests of the routes of one class."""

    def enter(self, source: str, headers: Mapping[bytes, bytes], /) -> Visit:
        """A request has come; nothing is counted yet."""


@dataclass(slots=True, kw_only=True)
class Target:
    """One method on one template. ``hot`` is set when the process has opened its read side, ``gate`` when it counts."""

    template: str
    names: tuple[str, ...]
    policy: BodyPolicy
    respond: Respond
    hot: HotRead | None = None
    gate: Gate | None = None


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

    def __init__(self, routes: Iterable[tuple[str, Target]]) -> None:
        self._root = _Node()
        for method, target in routes:
            self._add(method, target)
        self._static: dict[str, Found] = {}
        self._last: dict[str, tuple[str, dict[str, Target]]] = {}
        for node in self._nodes():
            self._shorten(node)

    def _shorten(self, node: "_Node") -> None:
        """Most paths have no argument, or one at the end: those are found in one step, the rest by walking."""
        front, _, last = node.template.rpartition("/")
        if "{" not in node.template:
            self._static[node.template] = (node.template, node.targets, ())
        elif "{" not in front and last.startswith("{"):
            self._last[front] = (node.template, node.targets)

    def _add(self, method: str, target: Target) -> None:
        node = self._root
        for segment in target.template.split("/"):
            if "{" in segment and not _PARAMETER.fullmatch(segment):
                raise ValueError(f"{target.template}: a parameter must be a whole segment")
            node = node.child(segment)
        if method in node.targets:
            raise ValueError(f"{method} {target.template} is there twice")
        node.template = target.template
        node.targets[method] = target

    def find(self, path: str) -> Found:
        """The template of ``path`` (``unmatched`` if none), its targets by method, and the arguments in the path."""
        if (found := self._static.get(path)) is not None:
            return found
        front, _, last = path.rpartition("/")
        if last and (place := self._last.get(front)) is not None:
            return (*place, (last,))
        args: list[str] = []
        node = _descend(self._root, path.split("/"), 0, args)
        return (UNMATCHED, {}, ()) if node is None else (node.template, node.targets, tuple(args))

    def targets(self) -> Iterable[tuple[str, Target]]:
        """Every method with its target."""
        for node in self._nodes():
            yield from node.targets.items()

    def _nodes(self) -> Iterator["_Node"]:
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


def method_of(targets: dict[str, Target], method: str) -> Target:
    """The target for ``method``; HEAD is answered as GET. Raises ``not-found`` or ``method-not-allowed`` with Allow."""
    target = targets.get(method) or (targets.get("GET") if method == "HEAD" else None)
    if target is not None:
        return target
    if not targets:
        raise Problem("not-found")
    allowed = sorted({*targets, *(["HEAD"] if "GET" in targets else [])})
    raise Problem("method-not-allowed", headers=((b"allow", ", ".join(allowed).encode("ascii")),))
