"""Health and metrics as any process serves them: live, ready, every component, and Prometheus' text."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import orjson
from prometheus_client import CollectorRegistry

from infra.observability.metrics import METRICS_TYPE, exposition

CHECK_SECONDS: Final = 1.0

Check = Callable[[], Awaitable[Mapping[str, Any] | None]]
"""Raises if the component does not work; what it returns is told beside the status, or is another ``status``."""

Page = tuple[int, bytes, bytes]
"""Status, media type, body."""

_JSON: Final = b"application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Something that a process leans on. Without a ``needed`` one the process is not ready. A check ends in time."""

    name: str
    check: Check
    needed: bool = True
    seconds: float = CHECK_SECONDS


def live() -> Page:
    """The process answers."""
    return 200, _JSON, b'{"status":"ok"}'


async def ready(components: tuple[Component, ...]) -> Page:
    """Whether the process can do its work: 200 or 503, with the names of what is missing."""
    reports = await _report_all([c for c in components if c.needed])
    missing = [report["name"] for report in reports if report["status"] != "ok"]
    status = "unavailable" if missing else "ok"
    return 503 if missing else 200, _JSON, orjson.dumps({"status": status, "missing": missing})


async def health(components: tuple[Component, ...]) -> Page:
    """Every component with its status and the milliseconds its check took."""
    reports = await _report_all(components)
    down = {report["name"] for report in reports if report["status"] != "ok"}
    failed = any(c.name in down for c in components if c.needed)
    status = "unavailable" if failed else "degraded" if down else "ok"
    return 503 if failed else 200, _JSON, orjson.dumps({"status": status, "components": reports})


def metrics(registry: CollectorRegistry) -> Page:
    """The registry, to be scraped."""
    return 200, METRICS_TYPE, exposition(registry)


async def _report_all(components: Any) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_report(component) for component in components)))


async def _report(component: Component) -> dict[str, Any]:
    """Errors are named by their class alone: their texts may carry addresses and names."""
    started = perf_counter()
    try:
        async with asyncio.timeout(component.seconds):
            told = dict(await component.check() or {})
        status = "ok"
    except Exception as error:
        told, status = {"error": type(error).__name__}, "unavailable"
    return {"name": component.name, "status": status, "ms": round((perf_counter() - started) * 1000, 1), **told}


def health_app(components: tuple[Component, ...], registry: CollectorRegistry) -> Callable[..., Awaitable[None]]:
    """The pages as an ASGI application for a process that serves nothing else."""

    async def page(path: str) -> Page:
        match path:
            case "/health/live":
                return live()
            case "/health/ready":
                return await ready(components)
            case "/health":
                return await health(components)
            case "/metrics":
                return metrics(registry)
        return 404, b"application/problem+json", _NOT_FOUND

    async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, media, body = await page(scope["path"])
        headers = [(b"content-type", media), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


_NOT_FOUND: Final = orjson.dumps(
    {
        "type": "/problems/not-found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no such thing here.",
        "code": "not-found",
    }
)
