"""What Redis does when its memory is full, and what it writes to its disk."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Final, cast

from pydantic import SecretStr

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.redis.stream_memory import RECOMMENDED, Memory

NEARLY_FULL: Final = 0.95


async def _memories(patient: Patient, url: SecretStr) -> Sequence[Memory]:
    """Of each server."""
    async with patient.redis(url) as clients:
        return [_memory(cast(dict[str, Any], await client.info("memory"))) for client in clients]


def _memory(said: Mapping[str, Any]) -> Memory:
    return Memory(
        limit=int(said.get("maxmemory", 0)),
        used=int(said.get("used_memory", 0)),
        policy=str(said.get("maxmemory_policy", "")),
    )


async def memory(patient: Patient) -> Sequence[Finding]:
    """The rules that the relay tells of when it starts, and whether there is any left."""
    settings = patient.settings
    of_each = [_of_streams(found, settings.stream_bytes) for found in await _memories(patient, settings.redis_url)]
    if settings.arq_redis_url is not None:
        of_each += [_of_jobs(found) for found in await _memories(patient, settings.arq_redis_url)]
    return list(dict.fromkeys(chain(*of_each)))  # servers of a cluster are set up alike, and wrong alike


def _of_streams(found: Memory, stream_bytes: int) -> Sequence[Finding]:
    told = [
        problem(
            warning,
            "streams are evicted or refused, and consumers read from Postgres instead",
            f"redis-cli config set maxmemory-policy {RECOMMENDED}; redis-cli config set maxmemory"
            f" {max(found.limit, 2 * stream_bytes)}; and the same in redis.conf",
        )
        for warning in found.warnings(stream_bytes)
    ]
    if found.limit and found.used > NEARLY_FULL * found.limit and found.policy == "noeviction":
        told.append(
            problem(f"{found.used} of {found.limit} bytes are in use", "writes are refused", "a larger maxmemory")
        )
    return told


def _of_jobs(found: Memory) -> Sequence[Finding]:
    if not found.policy.startswith("allkeys"):
        return []
    means, fix = "jobs are evicted, and wait for the sweep", "config set maxmemory-policy noeviction there"
    return [problem(f"maxmemory-policy of ARQ_REDIS_URL is {found.policy}", means, fix)]


async def persistence(patient: Patient) -> Sequence[Finding]:
    """Weir needs none, and a disk that is full or slow must not stop Redis."""
    async with patient.redis() as clients:
        said = [cast(dict[str, Any], await client.info("persistence")) for client in clients]
    return list(dict.fromkeys(chain(*map(of_disk, said))))


def of_disk(said: Mapping[str, Any]) -> Sequence[Finding]:
    """What is said of what ``INFO persistence`` says."""
    found = []
    if said.get("rdb_last_bgsave_status", "ok") != "ok" or said.get("aof_last_write_status", "ok") != "ok":
        means = "by default it refuses all writes then: no streams, no cache, no jobs"
        fix = "redis-cli config set save ''; redis-cli config set appendonly no; and the same in redis.conf"
        found.append(problem("Redis could not write to its disk", means, fix))
    elif said.get("aof_enabled"):
        means = "each write goes to a disk that nothing needs: all of it is in Postgres"
        found.append(advice("appendonly is on", means, "redis-cli config set appendonly no, and in redis.conf"))
    return found
