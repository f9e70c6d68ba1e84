"""Every refusal as a problem document (RFC 9457): one way from exceptions to answers."""

import inspect
import socket
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from fastapi import HTTPException as EndpointsException
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from pydantic import ValidationError
from redis import exceptions as redis
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.http.response import Headers, RawResponse
from api.problem_kinds import STATUS, Kind
from domain.kernel.refusals import Refusal
from infra import errors as infra
from infra.host.exhaustion import is_exhaustion
from infra.postgres.errors import classify, out_of, told
from infra.schemas.strict_json import MalformedJson
from infra.schemas.validation_errors import findings, findings_of

PROBLEM_JSON: Final = (b"content-type", b"application/problem+json")


CODES: Final[Mapping[type[Exception], str]] = {
    infra.OutcomeUnknown: "outcome-unknown",
    infra.Unavailable: "unavailable",
    infra.Rejected: "unavailable",
    infra.CannotUnwrap: "unavailable",
    infra.TookTooLong: "unavailable",
    infra.TooBusy: "too-busy",
    infra.TooLarge: "content-too-large",
    infra.VersionMismatch: "version-mismatch",
    infra.IdempotencyKeyReused: "idempotency-key-reused",
    infra.IdempotencyKeyInFlight: "idempotency-key-in-flight",
    infra.NotYetVisible: "not-yet-visible",
    infra.NotFound: "not-found",
    ConnectionError: "unavailable",
    TimeoutError: "unavailable",
    socket.gaierror: "unavailable",
    redis.ConnectionError: "unavailable",
    redis.TimeoutError: "unavailable",
}

_BY_STATUS: Final = {
    401: "unauthenticated",
    403: "insufficient-scope",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "content-too-large",
    415: "unsupported-media-type",
    422: "invalid",
    429: "too-many-requests",
    503: "unavailable",
}


class Problem(HTTPException):
    """A refusal by the edge itself. ``code`` is a key of ``STATUS``; ``detail`` must not repeat input.

    Being an ``HTTPException`` it passes through whatever of FastAPI stands between where it is raised and the edge.
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Sequence[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.code = code
        self.kind = STATUS.get(code) or Kind(409, code.replace("-", " ").capitalize(), "The rules forbid it.")
        self.errors = errors
        self.raw_headers = self.kind.headers if headers is None else headers
        told = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}
        super().__init__(self.kind.status, detail or self.kind.detail, told)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


def problem_of(error: Exception, *, committed: bool = False) -> Problem:
    """The problem that stands for an exception; ``internal`` for one that nobody foresaw.

    ``committed``: something of the request is stored already. Whatever fails on our side from then on is told as
    ``outcome-unknown``, a fault of the program too: that sends the client to ask again under the same key, where
    ``unavailable`` would say that nothing was stored, and ``internal`` nothing at all. What the rules have to say (4xx)
    is an answer like any other.
    """
    problem = _problem_of(server_failure(error) or error)
    return Problem("outcome-unknown") if committed and problem.kind.status >= 500 else problem


def server_failure(error: Exception) -> Exception | None:
    """What the driver's own error means, should one come as far as here, and one of a process that has run out of
    something: whoever stores anything tells that for what it means there."""
    if is_exhaustion(error):
        return infra.Unavailable(out_of(error))
    failure = classify(error) if isinstance(error, asyncpg.PostgresError) else None
    return None if failure is None else told(failure, error, writes=True)


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case Refusal():
            return _of_refusal(error)
        case ValidationError():
            return Problem("invalid", errors=findings_of(error))
        case RequestValidationError():
            return Problem("invalid", errors=findings(error.errors()))
        case MalformedJson():
            return Problem("malformed-json", str(error))
        case HTTPException():
            return _of_http(error)
        case infra.NotYetVisible():
            return Problem("not-yet-visible", headers=((b"retry-after", b"%d" % error.retry_after),))
    return Problem(next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), "internal"))


def problem_answer(problem: Problem, request_id: str) -> RawResponse:
    """The problem in bytes."""
    kind, code = problem.kind, problem.code
    document: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "code": code,
        "request_id": request_id,
    }
    if problem.errors:
        document["errors"] = problem.errors
    headers: Headers = [PROBLEM_JSON, *problem.raw_headers]
    return RawResponse(kind.status, headers, orjson.dumps(document))


def _of_refusal(refusal: Refusal) -> Problem:
    problem = Problem(refusal.code, refusal.detail)
    if refusal.pointer is not None or problem.kind.status == 422:
        problem.errors = [{"pointer": refusal.pointer or "", "code": refusal.code, "detail": refusal.detail}]
    return problem


def _of_http(error: HTTPException) -> Problem:
    """An ``HTTPException``: what FastAPI's own says is told, being the endpoint's word.

    The framework's texts are left out because they may repeat input.
    """
    code = _BY_STATUS.get(error.status_code, "malformed-request" if error.status_code < 500 else "internal")
    named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (error.headers or {}).items()]
    if not isinstance(error, EndpointsException):
        return Problem(code, headers=named or None)
    status, told = error.status_code, cast(object, error.detail)
    phrase = next((known.phrase for known in HTTPStatus if known == status), "Refused")
    detail = told if isinstance(told, str) else orjson.dumps(told).decode("utf-8")
    problem = Problem(_BY_STATUS.get(status, phrase.lower().replace(" ", "-")), detail, headers=named or None)
    problem.kind, problem.status_code = problem.kind._replace(status=status), status
    return problem


async def to_the_edge(_request: Request, error: Exception) -> Response:
    """An exception handler for what FastAPI would answer by itself: the edge tells every refusal in one form."""
    try:
        raise error
    finally:
        del error  # it knows this frame by its traceback: only a search for garbage would free the two


def handles_errors(app: FastAPI) -> bool:
    """Whether the application has exception handlers of its own, beside that of whatever is unforeseen."""
    others = (Exception, 500, WebSocketRequestValidationError)
    return any(handler is not to_the_edge for kind, handler in app.exception_handlers.items() if kind not in others)


async def answered(app: FastAPI, request: Request, error: Exception) -> Response | None:
    """The answer of the application's own handler to what is unforeseen, if it has one."""
    handler: Callable[..., Any] | None = app.exception_handlers.get(Exception) or app.exception_handlers.get(500)
    if handler is None or not inspect.iscoroutinefunction(handler):
        return None if handler is None else await run_in_threadpool(handler, request, error)
    response: Response = await handler(request, error)
    return response
