"""The route of a room's socket, on which :mod:`api.live.room_socket` serves, and the document that tells of it."""

from uuid import UUID

from anyio import to_thread
from starlette.convertors import UUIDConvertor, register_url_convertor
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from api.errors import Problem
from api.http.fast_route import router
from api.http.request_context import EXCHANGE, RequestState
from api.http.response import RawResponse, json_answer
from api.live.asyncapi import document
from api.live.room_socket import attend
from api.rate_limits.policies import limited
from infra.schemas.forms import FORMS

routes = router(tags=["rooms"])


class LiveRoom:
    """A room as it happens: the first frame says who asks, and from which place on.

    An ASGI application: what FastAPI has around an endpoint would stay in memory for as long as its socket.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One socket, until it is closed."""
        exchange: RequestState = scope[EXCHANGE]
        room_id: UUID = scope["path_params"]["room_id"]
        await attend(WebSocket(scope, receive, send), room_id, scope["state"]["live"], exchange.request_id)


class _Id(UUIDConvertor):
    """An id in the one form that all paths take; Starlette's own takes it without hyphens, too."""

    regex = FORMS[UUID].pattern.pattern


register_url_convertor("id", _Id())
routes.routes.append(WebSocketRoute("/v1/rooms/{room_id:id}/live", LiveRoom()))


@routes.get("/v1/rooms/{room_id}/live", include_in_schema=False)
@limited("public")
async def no_handshake(room_id: UUID) -> RawResponse:  # noqa: ARG001 - a part of the path
    """For whoever does not ask for a socket, or not as one has to."""
    raise Problem("upgrade-required")


@routes.get("/asyncapi.json", include_in_schema=False)
@limited("public")
async def asyncapi_document() -> RawResponse:
    """The description of what is told as it happens, by AsyncAPI 3."""
    return json_answer(await to_thread.run_sync(document))  # it is made of all types there are
