"""The comparison of two releases of an OpenAPI document, operation by operation."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cli.release.change import Change, Node, Way, breaking, compatible, resolved, warning
from cli.release.schemas import Schemas

METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options", "trace")
PUBLIC: Final[Sequence[Mapping[str, Any]]] = ({},)
"""What an operation without any security asks for: nothing."""

_ARGUMENT: Final = re.compile(r"\{[^}]*\}")


def compared(before: Node, after: Node) -> Iterator[Change]:
    """Every change of every operation, and of how clients show who they are."""
    schemas = Schemas(before, after)
    old, new = _operations(before), _operations(after)
    for key, operation in old.items():
        if key in new:
            yield from _Pair(before, after, schemas, operation, new[key]).changes()
        else:
            yield breaking(operation["place"], _gone(operation))
    for key, operation in new.items():
        if key not in old:
            yield compatible(operation["place"], "is new")
    yield from _schemes(before, after)


def _operations(document: Node) -> dict[tuple[str, str], Node]:
    """By method and path, whatever the arguments in it are called."""
    found = {}
    for path, item in document.get("paths", {}).items():
        shared = item.get("parameters", [])
        for method in METHODS:
            if method in item:
                parameters = [resolved(document, each) for each in (*shared, *item[method].get("parameters", ()))]
                place = f"{method.upper()} {path}"
                whole = {**item[method], "parameters": parameters, "path": path, "place": place}
                whole.setdefault("security", document.get("security", PUBLIC))
                found[method, _ARGUMENT.sub("{}", path)] = whole
    return found


def _gone(operation: Node) -> str:
    if operation.get("deprecated"):
        return f"is gone; it was to stay until {operation.get('x-sunset', 'nobody knows when')}"
    return "is gone, and was not deprecated"


class _Pair:
    """An operation in both releases."""

    def __init__(self, before: Node, after: Node, schemas: Schemas, old: Node, new: Node) -> None:
        self._documents = before, after
        self._schemas = schemas
        self._old = old
        self._new = new
        self._place: str = old["place"]

    def changes(self) -> Iterator[Change]:
        if self._old.get("operationId") != self._new.get("operationId"):
            told = self._new.get("operationId")
            yield warning(self._place, f"goes by the name of {told} in clients that are generated")
        if self._new.get("deprecated") and not self._old.get("deprecated"):
            yield compatible(self._place, "is deprecated")
        yield from self._parameters()
        yield from self._body()
        yield from self._responses()
        if not all(_is_enough(each, self._new["security"]) for each in self._old["security"] or PUBLIC):
            yield breaking(self._place, "wants other credentials, or more rights")

    def _parameters(self) -> Iterator[Change]:
        old, new = (dict(_keyed(operation)) for operation in (self._old, self._new))
        for key, parameter in old.items():
            place = f"{self._place} {parameter['in']} {parameter['name']}"
            if key not in new:
                yield breaking(place, "is gone")
                continue
            if new[key].get("required") and not parameter.get("required"):
                yield breaking(place, "has to be there now")
            for name in ("style", "explode"):
                if parameter.get(name) != new[key].get(name):
                    yield breaking(place, f"is written in another way: its {name} has changed")
            yield from self._schemas.compared(parameter.get("schema", {}), new[key].get("schema", {}), place, Way.ASKED)
        for key in new.keys() - old.keys():
            place = f"{self._place} {new[key]['in']} {new[key]['name']}"
            is_new = breaking if new[key].get("required") else compatible
            yield is_new(place, "is new" + (", and has to be there" if new[key].get("required") else ""))

    def _body(self) -> Iterator[Change]:
        place = f"{self._place} body"
        old, new = (
            resolved(document, operation.get("requestBody"))
            for document, operation in zip(self._documents, (self._old, self._new), strict=True)
        )
        if old is None:
            if new is not None:
                added = breaking if new.get("required") else compatible
                yield added(place, "is new" + (", and has to be there" if new.get("required") else ""))
            return
        if new is None:
            yield breaking(place, "is gone")
            return
        if new.get("required") and not old.get("required"):
            yield breaking(place, "has to be there now")
        yield from self._content(old, new, place, Way.ASKED)

    def _responses(self) -> Iterator[Change]:
        old, new = self._old.get("responses", {}), self._new.get("responses", {})
        for status, response in old.items():
            if status not in new:
                gone = breaking if status < "400" else warning
                yield gone(f"{self._place} {status}", "is answered no more")
                continue
            one = resolved(self._documents[0], response)
            other = resolved(self._documents[1], new[status])
            place = f"{self._place} {status}"
            yield from _headers(one, other, place)
            yield from self._content(one, other, place, Way.ANSWERED)
        for status in new.keys() - old.keys():
            yield warning(f"{self._place} {status}", "may be answered now")

    def _content(self, old: Node, new: Node, place: str, way: Way) -> Iterator[Change]:
        before, after = old.get("content", {}), new.get("content", {})
        for media, content in before.items():
            if media not in after:
                yield breaking(f"{place} {media}", "is gone")
                continue
            inner = place if len(before) == 1 else f"{place} {media}"
            yield from self._schemas.compared(content.get("schema", {}), after[media].get("schema", {}), inner, way)
        for media in after.keys() - before.keys():
            yield compatible(f"{place} {media}", "is new")


def _keyed(operation: Node) -> Iterator[tuple[tuple[str, str], Node]]:
    """Parameters by where they are and by name; of a path by their order in it, of a header in lower case."""
    order = [argument[1:-1] for argument in _ARGUMENT.findall(operation["path"])]
    for parameter in operation["parameters"]:
        name = parameter["name"]
        if parameter["in"] == "path" and name in order:
            name = str(order.index(name))
        yield (parameter["in"], name.lower() if parameter["in"] == "header" else name), parameter


def _headers(old: Node, new: Node, place: str) -> Iterator[Change]:
    names = {name.lower() for name in new.get("headers", ())}
    for name in old.get("headers", ()):
        if name.lower() not in names:
            yield breaking(f"{place} {name}", "is gone")


def _is_enough(had: Mapping[str, Sequence[str]], asked: Sequence[Mapping[str, Sequence[str]]]) -> bool:
    """Whether who satisfied this alternative still satisfies one."""
    return any(
        all(name in had and set(scopes) <= set(had[name]) for name, scopes in each.items()) for each in asked or PUBLIC
    )


def _schemes(before: Node, after: Node) -> Iterator[Change]:
    """How credentials are shown."""
    old, new = (document.get("components", {}).get("securitySchemes", {}) for document in (before, after))
    for name in old.keys() & new.keys():
        if _shown(old[name]) != _shown(new[name]):
            yield breaking(f"securitySchemes {name}", "are shown in another way")


def _shown(scheme: Node) -> Node:
    flows = {name: {**flow, "scopes": None} for name, flow in scheme.get("flows", {}).items()}
    return {**{key: value for key, value in scheme.items() if key != "description"}, "flows": flows}
