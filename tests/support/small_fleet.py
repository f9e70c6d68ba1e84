"""Workers that serve next to nothing, and so begin soon: a program for what their parent does."""

import os
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from api.server import keep_workers
from infra.errors import Unavailable
from infra.settings import Settings

FAILS = "SMALL_FLEET_FAILS"
"""In the environment: the file that says of how many starts from now on each is to fail."""


class PidApp:
    """Answers with its process; on ``/wait`` only when the body has come."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        while scope["path"] == "/wait" and (await receive())["more_body"]:
            pass
        body = str(os.getpid()).encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


def pid_app(_log_turns: Path) -> ASGIApp:
    """Or no application, as long as the file is there that forbids it."""
    if Path(os.environ[FAILS]).exists():
        raise Unavailable("nothing to serve with")
    return PidApp()


def main() -> None:
    keep_workers(Settings(), pid_app)
