"""The route of a room's socket, on which :mod:`api.live.room_socket` serves, and the document that tells of it."""

from uuid import UUID

from anyio import to_thread
from fastapi import WebSocket

from api.http.fast_route import router
from api.http.request_context import EXCHANGE, RequestState
from api.http.response import RawResponse, json_answer
from api.live.asyncapi import document
from api.live.room_socket import Live, attend
from api.rate_limits.policies import limited

routes = router(tags=["rooms"])


@routes.websocket("/v1/rooms/{room_id}/live")
async def live_room(socket: WebSocket, room_id: UUID) -> None:
    """A room as it happens: the first frame says who asks, and from which place on."""
    live: Live = socket.state.live
    exchange: RequestState = socket.scope[EXCHANGE]
    await attend(socket, room_id, live, exchange.request_id)


@routes.get("/asyncapi.json", include_in_schema=False)
@limited("public")
async def asyncapi_document() -> RawResponse:
    """The description of what is told as it happens, by AsyncAPI 3."""
    return json_answer(await to_thread.run_sync(document))  # it is made of all types there are
