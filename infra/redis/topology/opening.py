"""Connections to all servers of a Redis, by the kind of its URL."""

from collections.abc import Callable, Sequence

from pydantic import SecretStr

from infra.redis.topology.cluster import ClusterWires
from infra.redis.topology.one import OneWire
from infra.redis.topology.url import Kind, kind_of
from infra.redis.topology.wires import Wires


async def open_wires(
    url: SecretStr, *, greeting: Sequence[bytes] = (), on_lost: Callable[[], None] | None = None
) -> Wires:
    """Connections to all servers that hold anything, each of which was asked the ``greeting``.

    Raises one of ``BROKEN``. ``on_lost`` is told of their end, whoever ended them.
    """
    if kind_of(url) is Kind.CLUSTER:
        return await ClusterWires.connect(url, greeting, on_lost)
    return await OneWire.connect(url, greeting, on_lost)
