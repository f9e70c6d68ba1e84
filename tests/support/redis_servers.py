"""Several Valkeys that belong together: a cluster of three, and a master with its replica under three Sentinels."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import ResponseError

from infra.embedded import Valkey, free_ports
from infra.embedded.process import Launch, Process
from infra.embedded.release import valkey_release
from infra.redis.client import BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import info_of, pack
from tests.support.write_side import eventually

PASSWORD: Final = "the-servers-own-secret"
MASTER: Final = "mymaster"
NODES: Final = 3
PATIENCE_MS: Final = 1_000
"""So long a server may be silent before the others give it up."""

_WATCHED: Final = {"auth-pass": PASSWORD, "down-after-milliseconds": str(PATIENCE_MS), "failover-timeout": "3000"}


async def ask(server: Valkey, *command: str | int | bytes) -> Any:
    """The reply to one command, as it comes. Raises its refusal."""
    return await _ask(server.url, command)


async def _ask(url: str, command: Sequence[str | int | bytes]) -> Any:
    wire = await PipelineConnection.connect(SecretStr(url))
    try:
        return await wire.ask_one(pack(*(each if isinstance(each, bytes) else str(each) for each in command)), 10)
    finally:
        wire.close()


async def kill(server: Valkey) -> None:
    """As a machine does that loses its power."""
    server.process.send(signal.SIGKILL)
    await server.process.exited()


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Nodes that share the slots out among them; ``spare`` have none."""

    nodes: Sequence[Valkey]

    @property
    def url(self) -> str:
        return f"redis+cluster://:{PASSWORD}@{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    async def whole(self) -> None:
        """Once all nodes agree that all slots are served."""
        for node in self.nodes:
            await eventually(lambda node=node: _is_whole(node, len(self.nodes)), 20)  # type: ignore[misc]

    async def led_by(self, node: Valkey) -> None:
        """Once a node that was a replica is the master."""
        await eventually(lambda: _leads(node), 20)

    async def move(self, slot: int, source: Valkey, target: Valkey) -> None:
        """Moves a slot with all its keys, as ``redis-cli --cluster reshard`` does."""
        await self.begin_to_move(slot, source, target)
        await self.end_move(slot, source, target)

    async def begin_to_move(self, slot: int, source: Valkey, target: Valkey) -> None:
        """From now on the source sends those on who ask for keys that it does not hold."""
        await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", await _id(source))
        await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", await _id(target))

    async def carry(self, slot: int, source: Valkey, target: Valkey) -> None:
        """Moves the keys."""
        while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            place = ("127.0.0.1", target.port, "", 0, 5_000)
            await ask(source, "MIGRATE", *place, "AUTH", PASSWORD, "KEYS", *keys)

    async def end_move(self, slot: int, source: Valkey, target: Valkey) -> None:
        await self.carry(slot, source, target)
        for node in (target, source):
            await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", await _id(target))


async def _id(node: Valkey) -> str:
    told: bytes = await ask(node, "CLUSTER", "MYID")
    return told.decode()


async def _is_whole(node: Valkey, known: int) -> bool:
    said = info_of(await ask(node, "CLUSTER", "INFO"))
    return said["cluster_state"] == "ok" and said["cluster_known_nodes"] == str(known)


def _node(directory: Path, port: int, bus: int) -> Valkey:
    settings = {
        "cluster-enabled": "yes",
        "cluster-port": str(bus),
        "cluster-node-timeout": str(PATIENCE_MS),
        "cluster-replica-no-failover": "no",
        "masterauth": PASSWORD,
        "repl-diskless-sync-delay": "0",
    }
    return Valkey(directory, port=port, password=PASSWORD, settings=settings)


@asynccontextmanager
async def cluster(directory: Path, replicas: int = 0) -> AsyncIterator[Cluster]:
    """Three nodes that share the slots evenly, and behind them replicas of the first ones."""
    count = NODES + replicas
    ports = free_ports(2 * count)
    nodes = [_node(directory / f"node-{n}", ports[2 * n], ports[2 * n + 1]) for n in range(count)]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            stack.push_async_callback(node.stop)
        for n, node in enumerate(nodes[:NODES]):
            share = REDIS_CLUSTER_HASH_SLOTS / NODES
            await ask(node, "CLUSTER", "ADDSLOTSRANGE", round(n * share), round((n + 1) * share) - 1)
            await ask(node, "CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for n, node in enumerate(nodes[1:], 1):
            await ask(nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, ports[2 * n + 1])
        them = Cluster(nodes=nodes)
        await them.whole()
        for n in range(replicas):
            await ask(nodes[NODES + n], "CLUSTER", "REPLICATE", await _id(nodes[n]))
            await eventually(lambda n=n: _follows(nodes[NODES + n]), 20)  # type: ignore[misc]
        yield them


async def _leads(server: Valkey) -> bool:
    return info_of(await ask(server, "INFO", "replication"))["role"] == "master"


async def _follows(server: Valkey) -> bool:
    said = info_of(await ask(server, "INFO", "replication"))
    return said["role"] == "slave" and said["master_link_status"] == "up"


class Sentinel:
    """A Sentinel: the same program, with a file that it writes to; by its whole path, so that it runs as we do."""

    def __init__(self, directory: Path, port: int, master_port: int) -> None:
        self.port = port
        self._directory = directory
        self._master_port = master_port
        self._process: Process | None = None

    async def start(self) -> None:
        home = self._directory / "sentinel"
        home.mkdir(parents=True, exist_ok=True)
        file = home / "sentinel.conf"
        if not file.exists():
            lines = [
                f"port {self.port}",
                "bind 127.0.0.1",
                "protected-mode no",
                f"sentinel monitor {MASTER} 127.0.0.1 {self._master_port} 2",
                *(f"sentinel {name} {MASTER} {value}" for name, value in _WATCHED.items()),
            ]
            file.write_text("\n".join(lines))
        self._process = Process.spawn(
            Launch(
                name="sentinel",
                argv=(str(valkey_release().program), str(file), "--sentinel"),
                cwd=home,
                log=self._directory / "log" / "sentinel.log",
                pidfile=self._directory / "run" / "sentinel.pid",
                env={"PATH": os.defpath},
            )
        )

    async def stop(self) -> None:
        if self._process is not None:
            await self._process.stop()

    async def ask(self, *command: str | int) -> Any:
        """The reply to one command. Raises its refusal."""
        return await _ask(f"redis://127.0.0.1:{self.port}", command)

    async def master(self) -> dict[str, str]:
        """What it says of the master."""
        told = [each.decode() for each in await self.ask("SENTINEL", "MASTER", MASTER)]
        return dict(zip(told[::2], told[1::2], strict=True))


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A master, its replica, and the Sentinels that make the replica the master when it is gone."""

    servers: Sequence[Valkey]
    sentinels: Sequence[Sentinel]

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{places}/{MASTER}/0"

    async def master(self) -> Valkey:
        """The server that the Sentinels call so."""
        port = (await self.sentinels[0].master())["port"]
        return next(server for server in self.servers if str(server.port) == port)

    async def replica(self) -> Valkey:
        """The other one."""
        master = await self.master()
        return next(server for server in self.servers if server is not master)

    async def fail_over(self) -> None:
        """Has a Sentinel make the replica the master, and tell the former one, as soon as it knows of the replica."""
        await eventually(lambda: _told(self.sentinels[0], "SENTINEL", "FAILOVER", MASTER), 20)

    async def told(self, server: Valkey) -> None:
        """Tells all Sentinels that the master is another, as if they had not reached the one that was.

        First all forget: one that still knows the master of before tells those that do not, and its word is newer.
        """
        for sentinel in self.sentinels:
            await sentinel.ask("SENTINEL", "REMOVE", MASTER)
        for each in self.servers:
            await ask(each, "PING")  # whatever they told one another there has arrived
        for sentinel in self.sentinels:
            await sentinel.ask("SENTINEL", "MONITOR", MASTER, "127.0.0.1", server.port, 2)
            for name, value in _WATCHED.items():
                await sentinel.ask("SENTINEL", "SET", MASTER, name, value)

    async def follow(self, server: Valkey, master: Valkey) -> None:
        """Has a server follow the master, and waits until all Sentinels know of it: they ask each ten seconds."""
        await ask(server, "REPLICAOF", "127.0.0.1", master.port)
        await eventually(lambda: _follows(server), 60)
        for sentinel in self.sentinels:
            await eventually(lambda s=sentinel: _is_ready(s, len(self.sentinels) - 1), 60)  # type: ignore[misc]

    async def master_is(self, server: Valkey) -> None:
        """Once all Sentinels say so."""
        for sentinel in self.sentinels:
            await eventually(lambda s=sentinel: _says(s, server.port), 20)  # type: ignore[misc]


async def _says(sentinel: Sentinel, port: int) -> bool:
    return (await sentinel.master())["port"] == str(port)


async def _told(sentinel: Sentinel, *command: str) -> bool:
    try:
        await sentinel.ask(*command)
    except ResponseError:
        return False
    return True


async def _is_ready(sentinel: Sentinel, others: int) -> bool:
    try:
        told = await sentinel.master()
    except BROKEN:
        return False
    return told["num-slaves"] == "1" and told["num-other-sentinels"] == str(others)


def server(directory: Path, port: int, master: int = 0) -> Valkey:
    """One of a pair. The one that is no master now may become it."""
    settings = {"masterauth": PASSWORD, "repl-diskless-sync-delay": "0"}
    if master:
        settings["replicaof"] = f"127.0.0.1 {master}"
    return Valkey(directory, port=port, password=PASSWORD, settings=settings)


@asynccontextmanager
async def watched(directory: Path) -> AsyncIterator[Watched]:
    """A pair under three Sentinels."""
    ports = free_ports(5)
    servers = [server(directory / "one", ports[0]), server(directory / "two", ports[1], ports[0])]
    sentinels = [Sentinel(directory / f"sentinel-{port}", port, ports[0]) for port in ports[2:]]
    async with AsyncExitStack() as stack:
        for each in servers:
            await each.start()
            stack.push_async_callback(each.stop)
        await eventually(lambda: _follows(servers[1]), 20)
        for sentinel in sentinels:
            await sentinel.start()
            stack.push_async_callback(sentinel.stop)
        for sentinel in sentinels:
            await eventually(lambda s=sentinel: _is_ready(s, len(sentinels) - 1), 20)  # type: ignore[misc]
        yield Watched(servers=servers, sentinels=sentinels)
