"""What Redis does when its memory is full, and what it writes to its disk."""

from collections.abc import Mapping, Sequence
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.redis.stream_memory import RECOMMENDED, Memory, memory_in

NEARLY_FULL: Final = 0.95


async def memory(patient: Patient) -> Sequence[Finding]:
    """The rules that the relay tells of when it starts, and what is in use, of each server."""
    settings = patient.settings
    servers = {server: memory_in(said) for server, said in (await patient.redis_says("memory")).items()}
    most = settings.stream_bytes // max(len(servers), 1)
    found = [finding for server, each in servers.items() for finding in _of_server(server, each, most)]
    if settings.arq_redis_url is not None:
        for server, said in (await patient.redis_says("memory", settings.arq_redis_url)).items():
            if (policy := memory_in(said).policy).startswith("allkeys"):
                means, fix = "jobs are evicted, and wait for the sweep", "config set maxmemory-policy noeviction there"
                found.append(problem(f"{server}, of ARQ_REDIS_URL: maxmemory-policy is {policy}", means, fix))
    return found


def _of_server(server: str, memory: Memory, most: int) -> Sequence[Finding]:
    told = [
        problem(
            f"{server}: {warning}",
            "streams are evicted or refused, and consumers read from Postgres instead",
            f"redis-cli config set maxmemory-policy {RECOMMENDED}; redis-cli config set maxmemory"
            f" {max(memory.limit, 2 * most)}; and the same in redis.conf",
        )
        for warning in memory.warnings(most)
    ]
    if memory.limit and memory.used > NEARLY_FULL * memory.limit and memory.policy == "noeviction":
        used = f"{server}: {memory.used} of {memory.limit} bytes are in use"
        told.append(problem(used, "writes are refused", "a larger maxmemory"))
    return told


async def persistence(patient: Patient) -> Sequence[Finding]:
    """Weir needs none, and a disk that is full or slow must not stop Redis."""
    servers = await patient.redis_says("persistence")
    return [finding for said in servers.values() for finding in of_disk(said)]


def of_disk(said: Mapping[str, str]) -> Sequence[Finding]:
    """What is said of what ``INFO persistence`` says."""
    found = []
    if said.get("rdb_last_bgsave_status", "ok") != "ok" or said.get("aof_last_write_status", "ok") != "ok":
        means = "by default it refuses all writes then: no streams, no cache, no jobs"
        fix = "redis-cli config set save ''; redis-cli config set appendonly no; and the same in redis.conf"
        found.append(problem("Redis could not write to its disk", means, fix))
    elif said.get("aof_enabled", "0") != "0":
        means = "each write goes to a disk that nothing needs: all of it is in Postgres"
        found.append(advice("appendonly is on", means, "redis-cli config set appendonly no, and in redis.conf"))
    return found
