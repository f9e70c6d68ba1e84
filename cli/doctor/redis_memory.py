"""What Redis does when its memory is full, and what it writes to its disk."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pydantic import SecretStr

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.redis.stream_memory import RECOMMENDED, Memory

NEARLY_FULL: Final = 0.95


async def _memory(patient: Patient, url: SecretStr) -> Memory:
    async with patient.redis(url) as client:
        said = cast(dict[str, Any], await client.info("memory"))
    return Memory(
        limit=int(said.get("maxmemory", 0)),
        used=int(said.get("used_memory", 0)),
        policy=str(said.get("maxmemory_policy", "")),
    )


async def memory(patient: Patient) -> Sequence[Finding]:
    """The rules that the relay tells of when it starts, and whether there is any left."""
    settings = patient.settings
    found = await _memory(patient, settings.redis_url)
    told = [
        problem(
            warning,
            "streams are evicted or refused, and consumers read from Postgres instead",
            f"redis-cli config set maxmemory-policy {RECOMMENDED}; redis-cli config set maxmemory"
            f" {max(found.limit, 2 * settings.stream_bytes)}; and the same in redis.conf",
        )
        for warning in found.warnings(settings.stream_bytes)
    ]
    if found.limit and found.used > NEARLY_FULL * found.limit and found.policy == "noeviction":
        told.append(
            problem(f"{found.used} of {found.limit} bytes are in use", "writes are refused", "a larger maxmemory")
        )
    if settings.arq_redis_url is not None:
        jobs = await _memory(patient, settings.arq_redis_url)
        if jobs.policy.startswith("allkeys"):
            means, fix = "jobs are evicted, and wait for the sweep", "config set maxmemory-policy noeviction there"
            told.append(problem(f"maxmemory-policy of ARQ_REDIS_URL is {jobs.policy}", means, fix))
    return told


async def persistence(patient: Patient) -> Sequence[Finding]:
    """Weir needs none, and a disk that is full or slow must not stop Redis."""
    async with patient.redis() as client:
        return of_disk(cast(dict[str, Any], await client.info("persistence")))


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
