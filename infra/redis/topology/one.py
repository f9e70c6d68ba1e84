"""The connection to the one server that holds everything, used as those of a cluster are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from infra.redis.client import ANSWER_SECONDS
from infra.redis.pipeline import PipelineConnection
from infra.redis.topology.connection import connect_to
from infra.redis.topology.wires import Question, greet


class OneWire:
    """One server, which holds everything."""

    one = True

    def __init__(self, url: SecretStr, wire: PipelineConnection, greeted: Sequence[Any]) -> None:
        self.greeted: Mapping[SecretStr, Sequence[Any]] = {url: greeted}
        self._url = url
        self._wire = wire

    @classmethod
    async def connect(cls, url: SecretStr, greeting: Sequence[bytes], on_lost: Callable[[], None] | None) -> "OneWire":
        """Raises one of ``BROKEN``."""
        wire = await connect_to(url, "", None, on_lost)
        return cls(url, wire, await greet(wire, greeting))

    def holder(self, _key: str) -> SecretStr:
        return self._url

    async def ask(self, questions: Sequence[Question], seconds: float = ANSWER_SECONDS) -> list[Any]:
        return await self._wire.ask(b"".join([command for _, command in questions]), len(questions), seconds)

    async def ask_each(self, commands: Sequence[bytes]) -> Mapping[SecretStr, Sequence[Any]]:
        return {self._url: await self._wire.ask(b"".join(commands), len(commands))}

    def close(self) -> None:
        self._wire.close()
