"""The server of a process: uvicorn's, which ends by itself what would go on for ever."""

import socket
from typing import Final

import uvicorn

ENDING: Final = "ending"
"""Where in the lifespan's state stands what is called when the process is to end."""


class Server(uvicorn.Server):
    """Answers what has begun before it ends. What has no end of its own is told first, so that it has one."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once, after SIGTERM or SIGINT."""
        for server in self.servers:
            server.close()  # or whoever is sent away comes back to this very process
        self.lifespan.state.get(ENDING, lambda: None)()
        await super().shutdown(sockets)
