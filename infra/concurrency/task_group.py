"""A task group that ends by one error, and leaves nothing behind."""

import asyncio
from collections.abc import Awaitable, Callable


async def in_task_group(work: Callable[[asyncio.TaskGroup], Awaitable[None]]) -> None:
    """Does the work in a task group of its own. The first error of any of its tasks is raised, by itself."""
    error: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            await work(group)
    except BaseExceptionGroup as errors:
        error = _freed(errors)
    if error is not None:
        try:
            raise error
        finally:
            del error


def _freed(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first. The frame that made the group goes on knowing it, and is known to it by its traceback: whatever the
    tasks knew would be left to a search for garbage.
    """
    first = errors.exceptions[0]
    errors.__traceback__ = first.__traceback__ = None
    return first
