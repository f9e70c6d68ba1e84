"""Weir's settings for a side that runs its parts in a process of the bench."""

from benchmarks.task import Task
from infra.settings import Settings


def settings_of(task: Task) -> Settings:
    """The product's own defaults, on the bench's servers."""
    return Settings.model_validate(
        {"environment": "development", "database_url": task.database, "redis_url": task.redis}
    )
