"""WebSockets on a connection: uvicorn's, that can be closed when the client reads nothing."""

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class SocketProtocol(WebSocketsSansIOProtocol):
    """One connection."""

    async def send(self, message: Any) -> None:
        """Say it, when the client has made room for it; its close comes behind whatever waits.

        Nothing follows a close, and the transport (:mod:`api.http.connection.transport`) gives up a client that does
        not take what is left.
        """
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
