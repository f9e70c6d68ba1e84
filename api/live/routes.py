"""The route of a room's socket. What happens on it is :mod:`api.live.room_socket`."""

from uuid import UUID

from fastapi import WebSocket

from api.http.fast_route import router
from api.http.request_context import EXCHANGE, RequestState
from api.live.room_socket import Live, attend

routes = router(tags=["rooms"])


@routes.websocket("/v1/rooms/{room_id}/live")
async def live_room(socket: WebSocket, room_id: UUID) -> None:
    """A room as it happens: the first frame says who asks, and from which place on."""
    live: Live = socket.state.live
    exchange: RequestState = socket.scope[EXCHANGE]
    await attend(socket, room_id, live, exchange.request_id)
