"""Whether the process lives, whether it can work, how each part does, and its metrics."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from starlette.responses import PlainTextResponse

from api.dependencies import ComponentsDep, RegistryDep
from api.http.fast_route import router
from api.http.response import RawResponse
from api.rate_limits.policies import limited
from infra.observability import health
from infra.observability.health import Page

routes = router(tags=["operations"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    """Always `ok`."""


class Readiness(BaseModel):
    """Whether the process can do its work."""

    status: Literal["ok", "unavailable"]
    """`unavailable` if anything is missing that it needs."""
    missing: list[str]
    """What does not work of what it needs, by name."""


class ComponentHealth(BaseModel):
    """How one part does; some parts tell more beside this."""

    model_config = ConfigDict(extra="allow")

    name: str
    """Which part."""
    status: Literal["ok", "degraded", "unavailable"]
    """Whether it works; `degraded` if it does, and somebody should look after it."""
    ms: float
    """How many milliseconds its check took."""


class Health(BaseModel):
    """How the process and each of its parts do."""

    status: Literal["ok", "degraded", "unavailable"]
    """`degraded` if something is away that it can do without."""
    components: list[ComponentHealth]
    """Each part."""


def _unavailable(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {503: {"model": model, "description": "Something that the process needs does not work."}}


@routes.get("/health/live", response_model=Alive)
@limited("free")
async def is_live() -> RawResponse:
    """The process answers."""
    return _answer(health.live())


@routes.get("/health/ready", response_model=Readiness, responses=_unavailable(Readiness))
@limited("free")
async def is_ready(parts: ComponentsDep) -> RawResponse:
    """200 if the process can do its work, else 503 with what is missing."""
    return _answer(await health.ready(parts))


@routes.get("/health", response_model=Health, responses=_unavailable(Health))
@limited("free")
async def read_health(parts: ComponentsDep) -> RawResponse:
    """Every component with its status and the milliseconds its check took.

    `read_models` are degraded while one of them is ten seconds behind the log, or any stream is parked; a process is
    ready all the same.
    """
    return _answer(await health.health(parts))


@routes.get("/metrics", response_class=PlainTextResponse)
@limited("free")
async def read_metrics(registry: RegistryDep) -> RawResponse:
    """Prometheus' text format."""
    return _answer(health.metrics(registry))


def _answer(page: Page) -> RawResponse:
    status, media, body = page
    return RawResponse(status, [(b"content-type", media), (b"cache-control", b"no-store")], body)
