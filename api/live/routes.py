"""The route of a room's socket, on which :mod:`api.live.room_socket` serves, and the document that tells of it."""

from uuid import UUID

from anyio import to_thread
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from api.http.fast_route import router
from api.http.request_context import EXCHANGE, RequestState
from api.http.response import RawResponse, json_answer
from api.live.asyncapi import document
from api.live.room_socket import attend
from api.rate_limits.policies import limited

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


routes.routes.append(WebSocketRoute("/v1/rooms/{room_id:uuid}/live", LiveRoom()))


@routes.get("/asyncapi.json", include_in_schema=False)
@limited("public")
async def asyncapi_document() -> RawResponse:
    """The description of what is told as it happens, by AsyncAPI 3."""
    return json_answer(await to_thread.run_sync(document))  # it is made of all types there are
