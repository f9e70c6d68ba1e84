"""What both tutorial apps share: a logging and a metrics middleware, written as most FastAPI tutorials write them."""

import logging
import time
import uuid

from fastapi import FastAPI, Request, Response
from prometheus_client import Counter, Histogram
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

logger = logging.getLogger("shop")
REQUESTS = Counter("http_requests_total", "Requests", ["method", "path", "status"])
LATENCY = Histogram("http_request_duration_seconds", "Latency", ["method", "path"])


class LoggingMiddleware(BaseHTTPMiddleware):
    """One log line per request, with a request id."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request_id = request.headers.get("X-Request-ID") or str(uuid.uuid4())
        start = time.perf_counter()
        response = await call_next(request)
        milliseconds = (time.perf_counter() - start) * 1000
        logger.info(
            "%s %s %s %.1fms %s", request.method, request.url.path, response.status_code, milliseconds, request_id
        )
        response.headers["X-Request-ID"] = request_id
        return response


class MetricsMiddleware(BaseHTTPMiddleware):
    """A counter and a histogram by method and route."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get("route")
        path = route.path if route else request.url.path
        LATENCY.labels(request.method, path).observe(time.perf_counter() - start)
        REQUESTS.labels(request.method, path, response.status_code).inc()
        return response


def dressed(app: FastAPI) -> FastAPI:
    """The app with both middlewares and logging to standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    app.add_middleware(MetricsMiddleware)
    app.add_middleware(LoggingMiddleware)
    return app
