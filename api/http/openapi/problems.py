"""Which problems an operation can answer with, and how the document tells of them: each by an example."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import orjson

from api.errors import Problem, problem_answer
from api.http.openapi.facts import Facts, Operation
from api.http.openapi.headers import answered
from api.problem_kinds import STATUS
from api.refusals import refusals_of
from infra.schemas.validation_errors import findings

ANY: Final = (
    "malformed-request",
    "malformed-header",
    "unexpected-body",
    "method-not-allowed",
    "request-timeout",
    "uri-too-long",
    "unknown-host",
    "headers-too-large",
    "internal",
    "not-implemented",
    "version-not-supported",
)
"""What the edge refuses whichever route is asked for; the document tells of it as each operation's default."""

FOLLOWS: Final[Mapping[str, tuple[str, ...]]] = {
    "takes_body": ("unsupported-media-type", "content-too-large"),
    "takes_json": ("malformed-json",),
    "checks_values": ("invalid",),
    "asks_who": ("unauthenticated",),
    "asks_for_rights": ("insufficient-scope",),
    "names_a_thing": ("not-found",),
    "is_counted": ("too-many-requests",),
    "needs_servers": ("unavailable",),
    "waits": ("not-yet-visible",),
    "writes": ("outcome-unknown", "too-busy"),
    "is_keyed": ("idempotency-key-reused", "idempotency-key-in-flight"),
    "is_conditional": ("version-mismatch",),
}
"""What follows from each of the :class:`~api.http.openapi.facts.Facts`."""

EXAMPLE_ID: Final = "019ad0f2-6e1c-7a54-9a0e-2f8b41c7d310"
MEDIA: Final = "application/problem+json"

_FINDING: Final = {"type": "greater_than_equal", "loc": ("items", 0, "quantity"), "msg": "", "ctx": {"ge": 1}}
_POINTERS: Final = {
    "already-taken": "/email",
    "duplicate-item": "/items/1/product_id",
    "invalid-amount": "/amount/amount",
    "invalid-link": "/token",
    "invalid-value": "/reason",
    "out-of-stock": "/items/0",
    "unknown-account": "/account_id",
    "unknown-currency": "/amount/currency",
    "unknown-product": "/items/0/product_id",
    "wrong-password": "/password",
}

_HEADERS: Final[Mapping[int, Sequence[str]]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept", "Accept-Encoding"),
    429: ("Retry-After", "RateLimit-Policy", "RateLimit"),
    503: ("Retry-After",),
}

SCHEMA: Final = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457). Values of the request are never repeated.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Where the code is explained: `/problems/<code>`."},
        "title": {"type": "string", "description": "The code in words."},
        "status": {"type": "integer", "description": "The status of the answer."},
        "detail": {"type": "string", "description": "What is wrong this time, for people."},
        "code": {"type": "string", "enum": sorted(STATUS), "description": "What is wrong, for programs: it is stable."},
        "request_id": {"type": "string", "description": "Finds the request in the logs, as `X-Request-ID` does."},
        "errors": {
            "type": "array",
            "description": "What is wrong with which field, up to twenty of them.",
            "items": {"$ref": "#/components/schemas/Finding"},
        },
    },
}
FINDING: Final = {
    "title": "Finding",
    "description": "What is wrong with a field.",
    "type": "object",
    "required": ["pointer", "code", "detail"],
    "properties": {
        "pointer": {
            "type": "string",
            "description": "The field as a JSON pointer into the body (RFC 6901), or `/query/<name>`, `/path/<name>`.",
        },
        "code": {"type": "string", "description": "What is wrong with it, for programs."},
        "detail": {"type": "string", "description": "The same for people."},
    },
}


def codes_of(facts: Facts) -> tuple[str, ...]:
    """What the operation can answer with beside ``ANY``, in the order of the table."""
    given = {code for name, codes in FOLLOWS.items() if attrgetter(name)(facts) for code in codes}
    given.update(refusals_of(facts.endpoint))
    return tuple(code for code in STATUS if code in given)


def tell_problems(operation: Operation, codes: Iterable[str]) -> None:
    """Adds the answers of an operation that are problems."""
    told: dict[str, list[str]] = {}
    for code in codes:
        told.setdefault(str(STATUS[code].status), []).append(code)
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's own form of it
    for status, same in sorted(told.items()):
        only = {"$ref": f"#/components/responses/{same[0]}"}
        responses[status] = _response(" · ".join(STATUS[code].title for code in same), same) if same[1:] else only
    responses["default"] = {"$ref": "#/components/responses/any-problem"}


def components() -> dict[str, dict[str, Any]]:
    """What those answers refer to."""
    return {
        "schemas": {"Problem": SCHEMA, "Finding": FINDING},
        "responses": {
            "any-problem": _response("Whatever is asked for: the request itself is refused, or has met a fault.", ANY),
            **{code: _response(kind.title, [code]) for code, kind in STATUS.items()},
        },
        "examples": {code: {"summary": kind.title, "value": example_of(code)} for code, kind in STATUS.items()},
    }


def example_of(code: str) -> Any:
    """The problem as it is answered."""
    problem = Problem(code)
    if code == "invalid":
        problem.errors = findings([_FINDING])
    elif code in _POINTERS:
        problem.errors = [{"pointer": _POINTERS[code], "code": code, "detail": problem.kind.detail}]
    return orjson.loads(problem_answer(problem, EXAMPLE_ID).body)


def _response(description: str, codes: Sequence[str]) -> dict[str, Any]:
    """An answer that is one of these problems, each of which has an example."""
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    content = {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}}
    status = STATUS[codes[0]].status
    headers = {"headers": answered(_HEADERS[status])} if status in _HEADERS else {}
    return {"description": description, **headers, "content": content}
