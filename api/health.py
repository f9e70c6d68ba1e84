"""Whether the process lives, whether it can work, how each part does, and its metrics."""

from starlette.responses import PlainTextResponse

from api.dependencies import ComponentsDep, RegistryDep
from api.http.fast_route import router
from api.http.response import RawResponse
from api.rate_limits.policies import limited
from infra.observability import health
from infra.observability.health import Page

routes = router(tags=["operations"])


@routes.get("/health/live")
@limited("free")
async def is_live() -> RawResponse:
    """The process answers."""
    return _answer(health.live())


@routes.get("/health/ready")
@limited("free")
async def is_ready(parts: ComponentsDep) -> RawResponse:
    """200 if the process can do its work, else 503 with what is missing."""
    return _answer(await health.ready(parts))


@routes.get("/health")
@limited("free")
async def report(parts: ComponentsDep) -> RawResponse:
    """Every component with its status and the milliseconds its check took."""
    return _answer(await health.health(parts))


@routes.get("/metrics", response_class=PlainTextResponse)
@limited("free")
async def scrape(registry: RegistryDep) -> RawResponse:
    """Prometheus' text format."""
    return _answer(health.metrics(registry))


def _answer(page: Page) -> RawResponse:
    status, media, body = page
    return RawResponse(status, [(b"content-type", media), (b"cache-control", b"no-store")], body)
