"""Metrics of arq's jobs: how each ended, and how long it took."""

from functools import wraps
from time import perf_counter
from typing import Any, Final

from arq.typing import WorkerCoroutine
from prometheus_client import CollectorRegistry, Counter, Histogram

from infra.observability.per_registry import per_registry


class JobMetrics:
    """``weir_jobs_total`` and ``weir_job_duration_seconds``, by ``name``: a ``job`` of Prometheus is another thing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Counter("weir_jobs", "Jobs by outcome.", ("name", "outcome"), registry=registry)
        self._seconds = Histogram("weir_job_duration_seconds", "How long jobs take.", ("name",), registry=registry)

    def counted(self, job: WorkerCoroutine) -> WorkerCoroutine:
        """The job, counted under its own name. One that is cut off has run into its bound, or into a drain."""

        @wraps(job)
        async def run(ctx: dict[Any, Any], *args: Any, **options: Any) -> Any:
            outcome, began = "cut_off", perf_counter()
            try:
                answer = await job(ctx, *args, **options)
                outcome = "done"
            except Exception:
                outcome = "failed"
                raise
            finally:
                self._total.labels(job.__qualname__, outcome).inc()
                self._seconds.labels(job.__qualname__).observe(perf_counter() - began)
            return answer

        for outcome in ("done", "failed", "cut_off"):
            self._total.labels(job.__qualname__, outcome)
        return run


job_metrics: Final = per_registry(JobMetrics)
