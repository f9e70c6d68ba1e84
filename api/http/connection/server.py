"""The server of a process: uvicorn's, which ends by itself what would go on for ever."""

import asyncio
import select
import socket
from typing import Final

import uvicorn
from uvicorn.server import ServerState

ENDING: Final = "ending"
"""Where in the lifespan's state stands what is called when the process is to end."""

ACCEPT_SECONDS: Final = 0.05
"""How long a process that ends goes on taking connections that the kernel has made for it already: those that wait when
its socket closes are reset, whatever was said on them."""

QUIET_TURNS: Final = 4
"""So many turns a loop may take from a connection that it has accepted to one that is served."""


class State(ServerState):
    """What the connections of a server share. ``ends``: each is on its last request, also one that is made just now."""

    ends = False


class Server(uvicorn.Server):
    """Answers what has begun before it ends. What has no end of its own is told first, so that it has one."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.server_state: State = State()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once, after SIGTERM or SIGINT."""
        if sockets is None:  # else others have them too, and take what waits there
            await self._accept_what_waits()
        self.server_state.ends = True
        for server in self.servers:
            server.close()  # or whoever is sent away comes back to this very process
        self.lifespan.state.get(ENDING, lambda: None)()
        await super().shutdown(sockets)

    async def _accept_what_waits(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + ACCEPT_SECONDS
        listening = select.poll()
        for each in (each for server in self.servers for each in server.sockets):
            listening.register(each.fileno(), select.POLLIN)
        quiet = 0
        while quiet < QUIET_TURNS and loop.time() < until:
            quiet = 0 if listening.poll(0) else quiet + 1
            await asyncio.sleep(0)
