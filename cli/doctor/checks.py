"""The table of all checks, made side by side, each within its time, whatever becomes of the others."""

import asyncio
from collections.abc import Sequence
from typing import Final

from cli.doctor import (
    clocks,
    keys,
    machine,
    outside,
    pooler,
    read_replica,
    redis_memory,
    schema,
    server_activity,
    server_settings,
    versions,
    work,
)
from cli.doctor.finding import Check, Examined, problem
from cli.doctor.patient import Patient
from infra.errors import AWAY
from infra.postgres.unreachable import cause

CHECKS: Final = (
    Check(name="Python", examine=versions.python),
    Check(name="secrets", examine=machine.secrets),
    Check(name="disks", examine=machine.disks),
    Check(name="PostgreSQL", examine=versions.postgres),
    Check(name="durability", examine=server_settings.durability),
    Check(name="database", examine=server_settings.meaning),
    Check(name="pooler", examine=pooler.ways),
    Check(name="schema", examine=schema.revision),
    Check(name="schema drift", examine=schema.drift, seconds=15.0),
    Check(name="transactions", examine=server_activity.transactions),
    Check(name="connections", examine=server_activity.connections),
    Check(name="replication", examine=server_activity.replication),
    Check(name="read replica", examine=read_replica.replica),
    Check(name="dead rows", examine=server_activity.upkeep),
    Check(name="PostgreSQL's clock", examine=clocks.postgres_clock),
    Check(name="Redis", examine=versions.redis),
    Check(name="Redis' memory", examine=redis_memory.memory),
    Check(name="Redis' disk", examine=redis_memory.persistence),
    Check(name="Redis' clock", examine=clocks.redis_clock),
    Check(name="signing keys", examine=keys.signing),
    Check(name="encryption keys", examine=keys.encryption),
    Check(name="mail server", examine=outside.mail, seconds=10.0),
    Check(name="payment provider", examine=outside.provider),
    Check(name="storage", examine=outside.storage, seconds=10.0),
    Check(name="lag", examine=work.lag),
    Check(name="parked streams", examine=work.parked),
    Check(name="what is owed", examine=work.owed),
)

AT_ONCE: Final = 6
"""So few connections a doctor takes from a server that may have none to spare."""


async def examine(patient: Patient, checks: Sequence[Check] = CHECKS) -> Sequence[Examined]:
    """All of them, in their order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def made(check: Check) -> Examined:
        async with places:
            return await _made(patient, check)

    return await asyncio.gather(*map(made, checks))


async def _made(patient: Patient, check: Check) -> Examined:
    """A check that hangs is given up: what it waits for has bounds of its own, and is left to them."""
    examining = asyncio.ensure_future(check.examine(patient))
    done, _ = await asyncio.wait([examining], timeout=check.seconds)
    if not done:
        examining.cancel()
        await asyncio.wait([examining], timeout=1.0)
        told = f"no answer within {check.seconds:g} s"
    elif (error := examining.exception()) is None:
        return Examined(name=check.name, findings=examining.result())
    else:
        told = _why(error)
    fix = "mend what it says, then look again"
    return Examined(
        name=check.name, findings=[problem(f"could not be looked at: {told}", "nothing is known of it", fix)]
    )


def _why(error: BaseException) -> str:
    """None of it tells a secret."""
    return str(error) if isinstance(error, AWAY) else cause(error)
