"""Workers with the edge and its metrics, and without servers: a program for what a scrape is told of all of them."""

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from api import health
from api.dependencies import Opened
from api.main import assemble
from api.server import keep_workers
from infra.observability.logging import logging_to
from infra.settings import Settings


async def _open(_stack: AsyncExitStack, _settings: Settings, registry: CollectorRegistry) -> Opened:
    return Opened(state={"shared": SimpleNamespace(registry=registry, components=())})


def metered_app(log_turns: Path) -> ASGIApp:
    settings = Settings()
    return assemble(settings, [health.routes], _open, log=partial(logging_to, settings, turns=log_turns))


def main() -> None:
    keep_workers(Settings(), metered_app)
