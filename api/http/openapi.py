"""The OpenAPI document: FastAPI's description of the routes, and what the edge adds to each of them."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI, Request

from api.errors import STATUS
from api.http.fast_route import BODY_METHODS, router
from api.http.response import RawResponse, json_answer
from api.rate_limits.policies import limited

METADATA: Final[dict[str, Any]] = {
    "title": "Weir",
    "version": "0.1.0",
    "summary": "An event-driven shop: commands are events, reads are documents.",
    "openapi_url": None,
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
    # Requests are counted and logged by the edge. Asking OpenTelemetry whether somebody listens costs 10 µs of each.
    "telemetry": {"tracing": False, "metrics": False, "logs": False},
    "openapi_tags": [
        {"name": "accounts", "description": "Who shops here."},
        {"name": "catalogue", "description": "What is sold, and how much of it there is."},
        {"name": "orders", "description": "What was ordered, paid, shipped."},
        {"name": "events", "description": "The log itself."},
        {"name": "operations", "description": "How the house is doing."},
    ],
}

_ANYWHERE: Final = (400, 401, 403, 404, 405, 408, 414, 421, 422, 429, 431, 500, 501, 503, 505)
_WITH_BODY: Final = (409, 412, 413, 415)

_PROBLEM: Final = {
    "title": "Problem",
    "description": "RFC 9457. `code` is stable; values of the request are never repeated.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": ["/problems/out-of-stock"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": sorted(STATUS)},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {name: {"type": "string"} for name in ("pointer", "code", "detail")},
            },
        },
    },
}

NOT_KEYED: Final = frozenset(
    {
        ("POST", "/v1/auth/token"),
        ("POST", "/v1/auth/refresh"),
        ("POST", "/v1/auth/logout"),
        ("POST", "/v1/auth/password-reset"),
    }
)
"""Routes on which an ``Idempotency-Key`` changes no answer; the description of each says why."""

routes = router(tags=["operations"])


@routes.get("/openapi.json", include_in_schema=False)
@limited("public")
async def openapi_document(request: Request) -> RawResponse:
    """The description of every route."""
    return json_answer(request.app.openapi())


def describe(app: FastAPI) -> FastAPI:
    """Make the application's description tell what the edge does to every route."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document.setdefault("components", {}).setdefault("schemas", {})["Problem"] = _PROBLEM
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
            for method, path, operation in _operations(document):
                _describe(method, operation, keyed=(method, path) not in NOT_KEYED)
        return app.openapi_schema or plain()

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        yield from ((method.upper(), path, operation) for method, operation in operations.items())


def _describe(method: str, operation: dict[str, Any], *, keyed: bool) -> None:
    writes = method in BODY_METHODS
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    responses = operation["responses"]
    for status in (*_ANYWHERE, *(_WITH_BODY if writes else ())):
        titles = [kind.title for kind in STATUS.values() if kind.status == status]
        responses[str(status)] = {"description": " · ".join(titles), "content": problem}
    responses["429"]["headers"] = _LIMIT_HEADERS
    _plain(operation.get("requestBody", {}))
    if writes and keyed:
        _describe_write(responses)
        operation.setdefault("parameters", []).extend(_WRITE_HEADERS)
    elif not writes:
        responses["304"] = {"description": "Not modified: the client's copy is good."}
        operation.setdefault("parameters", []).extend(_READ_HEADERS)


def _plain(body: dict[str, Any]) -> None:
    """A body that may be left out is told as that, and not as one that may be ``null``."""
    for content in body.get("content", {}).values():
        match content["schema"].get("anyOf"):
            case [schema, {"type": "null"}]:
                content["schema"] = schema


def _describe_write(responses: dict[str, Any]) -> None:
    for status in ("200", "201", "202", "204"):
        if status in responses:
            receipt = _RECEIPT_HEADERS if "Receipt" in str(responses[status]) else {}
            location = {"Location": _told("Where it is.")} if status == "201" else {}
            responses[status]["headers"] = receipt | location | _REPLAY_HEADERS


def _told(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema}


_RECEIPT_HEADERS: Final = {
    "ETag": _told("The version, in quotes: what `If-Match` takes."),
    "Consistency-Token": _told("Send it with a read that must include this write."),
}
_REPLAY_HEADERS: Final = {
    "Idempotency-Replayed": _told("`true` if this is the answer of an earlier request with the same key."),
}
_LIMIT_HEADERS: Final = {
    "Retry-After": _told("Seconds until one more request is let through."),
    "RateLimit-Policy": _told("The rates that hold here: `q` requests in `w` seconds."),
    "RateLimit": _told("The scarcest of them: `r` requests left, all of them again in `t` seconds."),
}
_WRITE_HEADERS: Final = (
    _header(
        "Idempotency-Key",
        "Repeating it within a day gives the first answer again. Another request under it is refused, and so is one"
        " while the first still runs. It belongs to the account; before there is one, to the email that is given."
        " Passwords are no part of what is compared, but where one becomes the account's.",
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    ),
    _header(
        "If-Match",
        "Only if the thing is at this version.",
        {"type": "string", "pattern": '^"[1-9][0-9]{0,17}(-[0-9]{1,18})?(-gz)?"$'},
    ),
)
_READ_HEADERS: Final = (
    _header(
        "Consistency-Token",
        "The answer includes the write whose receipt carried it.",
        {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[!-~]+$"},
    ),
    _header("Prefer", "`wait=<seconds>`: how long to wait for that write.", {"type": "string"}),
    _header("If-None-Match", "304 if it still has this ETag.", {"type": "string"}),
)
