"""Routes that are served by a plan where one can be made of them, and by FastAPI's own handler where not.

``router()`` makes an ``APIRouter`` whose ``route_class`` is :class:`Route`; a plain ``APIRouter`` is served as FastAPI
documents it.
"""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.http.request_context import EXCHANGE, EndedSince
from api.http.response import Done, RawResponse, Receipt, response_of
from api.http.route_table import TARGET, Target
from api.schemas import ReceiptDocument

BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route whose endpoint may answer with a :class:`Receipt`, :class:`Done` or :class:`RawResponse`.

    Such an answer is documented, not run through a model again; any other is FastAPI's to filter and to serialise.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        returned = inspect.signature(endpoint, eval_str=True).return_annotation
        self.answers = _is_answer(returned)
        if self.answers:
            if not isinstance(options.get("response_model"), type):
                receipt = inspect.isclass(returned) and issubclass(returned, Receipt)
                options["response_model"] = ReceiptDocument if receipt else None
            if returned in (None, Done):
                options["status_code"] = options.get("status_code") or 204
            endpoint = _answering(endpoint, options.get("status_code") or 200)
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Handler:
        """By its plan, unless there is none or a dependency has been overridden; then by FastAPI's own handler."""
        by_fastapi, status = super().get_route_handler(), self.status_code or 200

        async def handle(request: Request) -> Response:
            target: Target | None = request.scope.get(TARGET)
            if target is None:
                return await by_fastapi(request)
            body = request.scope[EXCHANGE].body
            if (respond := target.plan_in(request.app)) is not None:
                return await respond(request, body)
            target.check(request, body)
            try:
                return await by_fastapi(request)
            except EndedSince as ended:
                return response_of(await ended.recall(request), status)

        return handle


def _is_answer(annotation: Any) -> bool:
    """Whether an endpoint that is declared so answers in full by itself."""
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_answer, get_args(annotation)))
    if annotation in (None, NoneType):
        return True
    return inspect.isclass(annotation) and issubclass(annotation, (Receipt, Done, RawResponse, Response))


def _answering(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    """The endpoint with its answer as FastAPI takes it."""
    if inspect.iscoroutinefunction(endpoint):

        @wraps(endpoint)
        async def answering(**arguments: Any) -> Response:
            return response_of(await endpoint(**arguments), status)

        return answering

    @wraps(endpoint)
    def in_a_thread(**arguments: Any) -> Response:
        return response_of(endpoint(**arguments), status)

    return in_a_thread


def router(prefix: str = "", *, tags: Sequence[str] = ()) -> APIRouter:
    """A router of such routes. In the OpenAPI document, and in clients made of it, each goes by its function's name."""
    return APIRouter(
        prefix=prefix,
        tags=list(tags),
        route_class=Route,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
