"""A start that failed for want of a server is told to whoever runs the application in words, and not as a traceback."""

import sys

from starlette.types import Message, Send

from infra.host.entry_point import NO_START


def in_words(send: Send) -> Send:
    """The same, for a lifespan. Starlette sends its failure from within the handling of the error that it was."""

    async def told(message: Message) -> None:
        error = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(error, NO_START):
            message = {**message, "message": str(error)}
        await send(message)

    return told
