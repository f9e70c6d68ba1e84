"""What the OpenAPI document tells of each operation, and the rule that no answer is one that it does not tell of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from api.main import openapi_document
from api.problem_kinds import STATUS

PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media(self) -> str:
        """Its media type."""
        return self.headers.get("content-type", "").partition(";")[0]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    told: Mapping[str, Any]
    schemas: Mapping[str, Any]

    @property
    def media(self) -> list[str]:
        """What kinds of body it takes."""
        return list(self.told.get("requestBody", {}).get("content", {}))

    @property
    def takes_anything(self) -> bool:
        """Whether there is a parameter or a body."""
        return not self.told.keys().isdisjoint({"parameters", "requestBody"})

    def parameters(self, place: str) -> list[str]:
        """The names of those in the path, the query or the headers."""
        return [each["name"] for each in self.told.get("parameters", ()) if each["in"] == place]

    def problems(self) -> Mapping[str, set[str]]:
        """The codes that it tells of itself, by their status."""
        answers = {status: answer for status, answer in self.told["responses"].items() if status != "default"}
        return {status: told for status, answer in answers.items() if (told := codes_of(answer))}

    def fields(self) -> list[str]:
        """The names that stand in its body, at any depth."""
        return sorted(set(self._names(self.told.get("requestBody", {}), set())))

    def _names(self, part: Any, seen: set[str]) -> Iterator[str]:
        if isinstance(part, list):
            for each in part:
                yield from self._names(each, seen)
        if not isinstance(part, dict):
            return
        name = str(part.get("$ref", "")).rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            yield from self._names(self.schemas[name], seen)
        yield from part.get("properties", {})
        for each in part.values():
            yield from self._names(each, seen)

    @property
    def is_endless(self) -> bool:
        """Whether a success is an event stream, whatever is asked for."""
        return set(self.told["responses"].get("200", {}).get("content", {})) == {"text/event-stream"}

    def assert_told(self, reply: Reply) -> None:
        """The document tells of this answer; nothing failed on our side; a refusal is a problem with a code that the
        operation tells of, or that every one has."""
        responses, status = self.told["responses"], str(reply.status)
        answer = responses.get(status) or (responses["default"] if reply.status >= 400 else None)
        assert answer is not None, f"{self.method} {self.path}: {reply.status} {reply.body[:300]!r}"
        if reply.body:
            assert reply.media in answer.get("content", {}), (self.method, self.path, reply.status, reply.media)
        if reply.status >= 400:
            assert_problem(reply)
            known = codes_of(responses.get(status, {})) | codes_of(responses["default"])
            code = orjson.loads(reply.body)["code"]
            assert code in known, f"{self.method} {self.path} does not tell of {code}"


def assert_problem(reply: Reply) -> None:
    """In the form of all problems, with a known code, and not one of our own faults."""
    assert reply.media == PROBLEM, (reply.status, reply.media, reply.body[:300])
    problem = orjson.loads(reply.body)
    assert STATUS[problem["code"]].status == problem["status"] == reply.status, problem
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert reply.status < 500 or problem["code"] in ("not-yet-visible", "not-implemented"), problem


def codes_of(answer: Mapping[str, Any]) -> set[str]:
    """Of an answer that is a problem, each of which has an example."""
    return set(answer.get("content", {}).get(PROBLEM, {}).get("examples", ()))


def written_out(document: Mapping[str, Any], part: Any) -> Any:
    """A part of the document with what it refers to in its place, but for schemas."""
    if isinstance(part, list):
        return [written_out(document, each) for each in part]
    if not isinstance(part, dict):
        return part
    _, _, kind, name = ["", *part["$ref"].split("/")[1:]] if "$ref" in part else ["", "", "schemas", ""]
    if kind != "schemas":
        return written_out(document, document["components"][kind][name])
    return {key: written_out(document, value) for key, value in part.items()}


@cache
def told_codes() -> Mapping[tuple[str, str], set[str]]:
    """The codes that each operation tells of, with those that every one has. To make it takes a second, once."""
    return {
        (each.method, each.path): set().union(*each.problems().values()) | codes_of(each.told["responses"]["default"])
        for each in operations(openapi_document())
    }


def assert_code_is_told(method: str, template: str, code: str) -> None:
    """The operation tells of a problem that it was answered with."""
    told = told_codes().get((method, template))
    assert told is None or code in told, f"{method} {template} does not tell of {code}: see api.refusals"


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """All that the document describes."""
    schemas = document["components"]["schemas"]
    return [
        Operation(method=method.upper(), path=path, told=written_out(document, told), schemas=schemas)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]
