"""Connections to all servers of a Redis, used as one: each command goes to the server that holds its key."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic import SecretStr

from infra.redis.client import ANSWER_SECONDS
from infra.redis.pipeline import PipelineConnection


class Question(NamedTuple):
    """A packed command, and the key by which it is known where it belongs."""

    key: str
    command: bytes


class Wires(Protocol):
    """Connections to all servers; one question each at a time. The end of any of them is the end of all.

    ``greeted`` are the servers, each with its replies to the greeting. ``one``: a single server holds everything, so
    that a command, or a transaction, may name whatever keys.
    """

    one: bool
    greeted: Mapping[SecretStr, Sequence[Any]]

    def holder(self, key: str) -> SecretStr:
        """The server that holds a key. Raises one of ``BROKEN``."""

    async def ask(self, questions: Sequence[Question], seconds: float = ANSWER_SECONDS) -> list[Any]:
        """One reply for each question, in order; a refusal is a ``ReplyError`` in its place.

        Raises one of ``BROKEN``, and closes all: a late reply must not pass for the answer to a later question.
        """

    async def ask_each(self, commands: Sequence[bytes]) -> Mapping[SecretStr, Sequence[Any]]:
        """The replies of every server. Raises one of ``BROKEN``, and closes all."""

    def close(self) -> None:
        """Closes all at once."""


async def greet(wire: PipelineConnection, greeting: Sequence[bytes]) -> Sequence[Any]:
    """What a server replies to what everybody is asked first; where that fails, the connection is closed."""
    return await wire.ask(b"".join(greeting), len(greeting)) if greeting else ()
