"""What the figures were taken on and with: they mean nothing without it."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncpg
from redis.asyncio import Redis

from benchmarks.setting.environment import versions
from benchmarks.setting.servers import Servers

_IDLE = 0.5
_OURS = ("asyncpg", "fastapi", "orjson", "redis", "uvicorn", "uvloop")
_THEIRS = ("eventsourcing", "psycopg", "fastapi", "pydantic", "sqlalchemy", "asyncpg", "redis", "uvicorn", "uvloop")


async def description(servers: Servers, directory: Path) -> Mapping[str, str]:
    """Facts by name, in the order in which they are to be shown."""
    return {
        "machine": f"{os.cpu_count()} cores, {_cpu_model()}, {_memory_gib():.0f} GiB, Linux {platform.release()}",
        "load before": _load(),
        "one fdatasync": f"{_fdatasync_us(directory):.0f} µs (median of 200, 8 KiB)",
        "Python": sys.version.split()[0],
        "PostgreSQL": await _postgres(servers.database),
        "Valkey": await _valkey(servers.redis),
        "Weir with": ", ".join(f"{name} {version(name)}" for name in _OURS),
        "peers with": ", ".join(f"{name} {number}" for name, number in versions(_THEIRS).items()),
    }


def _load() -> str:
    load = os.getloadavg()[0]
    busy = ": others are at work, expect the absolute figures to be low and the ratios to scatter"
    return f"{load:.2f} (1 min){busy if load > _IDLE else ''}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _fdatasync_us(directory: Path) -> float:
    path, times = directory / "fdatasync", []
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(file, bytes(1 << 20))
        os.fsync(file)
        for number in range(200):
            start = perf_counter()
            os.pwrite(file, b"x" * 8192, number % 100 * 8192)
            os.fdatasync(file)
            times.append(perf_counter() - start)
    finally:
        os.close(file)
        path.unlink()
    return median(times) * 1e6


async def _postgres(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        settings = [
            f"{name} {await connection.fetchval('SELECT current_setting($1)', name)}"
            for name in ("fsync", "synchronous_commit", "shared_buffers", "max_wal_size")
        ]
        number = await connection.fetchval("SELECT current_setting('server_version')")
    finally:
        await connection.close()
    return f"{number}, {', '.join(settings)}"


async def _valkey(url: str) -> str:
    async with Redis.from_url(url) as redis:
        facts = await redis.info("server")
    return str(facts.get("valkey_version", facts["redis_version"]))
