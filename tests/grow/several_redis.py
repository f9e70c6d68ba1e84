"""Redis in more than one server: a pair under Sentinels, and a cluster whose streams lie on all nodes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cli.supervisor import Stack
from infra.embedded import Valkey
from tests.faults.ground import OWN_POSTGRES, Befall, Ground
from tests.support.redis_servers import Cluster, Watched, ask, cluster, kill, watched


@asynccontextmanager
async def under_sentinels(directory: Path) -> AsyncIterator[Ground]:
    """A master and its replica, which three Sentinels watch; arq's jobs are there, too."""
    async with watched(directory) as pair:
        yield Ground(environment={"REDIS_URL": pair.url}, befalls={**_of_the_pair(pair), **OWN_POSTGRES})


def _of_the_pair(pair: Watched) -> Mapping[str, Befall]:
    async def master_killed(_: Stack) -> None:
        former, replica = await pair.master(), await pair.replica()
        await kill(former)
        await pair.master_is(replica)
        await former.start()
        await pair.follow(former, replica)

    async def failed_over(_: Stack) -> None:
        former, replica = await pair.master(), await pair.replica()
        await pair.fail_over()
        await pair.master_is(replica)
        await pair.follow(former, replica)

    async def wiped(_: Stack) -> None:
        await ask(await pair.master(), "FLUSHALL")

    return {"master killed": master_killed, "failed over by hand": failed_over, "wiped": wiped}


@asynccontextmanager
async def over_a_cluster(directory: Path) -> AsyncIterator[Ground]:
    """Three nodes, of which the first has a replica; arq's jobs are on a server of their own."""
    async with cluster(directory / "cluster", replicas=1) as nodes, Valkey(directory / "jobs").running() as jobs:
        told = {"REDIS_URL": nodes.url, "ARQ_REDIS_URL": jobs}
        yield Ground(environment=told, befalls={**_of_the_cluster(nodes), **OWN_POSTGRES})


def _of_the_cluster(nodes: Cluster) -> Mapping[str, Befall]:
    async def master_killed(_: Stack) -> None:
        """Its replica takes over, and it comes back as the replica of that."""
        master, replica = nodes.nodes[0], nodes.nodes[-1]
        await kill(master)
        await nodes.led_by(replica)
        await master.start()
        await nodes.whole()

    async def node_killed(_: Stack) -> None:
        """It has no replica: what it held is gone."""
        await kill(nodes.nodes[1])
        await nodes.nodes[1].start()
        await nodes.whole()

    async def slots_moved(_: Stack) -> None:
        """A hundred, with all that is in them, and back."""
        source, target = nodes.nodes[1], nodes.nodes[2]
        for slot in range(6_000, 6_100):
            await nodes.move(slot, source, target)
        for slot in range(6_000, 6_100):
            await nodes.move(slot, target, source)

    async def wiped(_: Stack) -> None:
        await asyncio.gather(*(ask(node, "FLUSHALL") for node in nodes.nodes[1:3]))

    return {
        "a master killed that has a replica": master_killed,
        "a node killed that has none": node_killed,
        "slots moved": slots_moved,
        "two nodes wiped": wiped,
    }
