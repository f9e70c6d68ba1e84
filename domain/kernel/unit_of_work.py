"""The unit of work as a port: streams to be decided on together, whose changes are stored all or none."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from domain.kernel.decider import Decider

C = TypeVar("C")
E = TypeVar("E")
S = TypeVar("S")

StreamRef: TypeAlias = tuple[Decider[Any, Any, Any], UUID]
"""A stream by its rules and the id of its entity."""


class UnitOfWork(Protocol):
    """One attempt at a decision over several streams. It may be made again from newer states: keep it pure.

    ``answer`` takes fields for the receipt beside its id, version and position; they are kept with the outcome.
    """

    answer: dict[str, Any]

    def state(self, decider: Decider[Any, Any, S], entity_id: UUID) -> S:
        """The state that the stream would have now. The stream must have been declared with the work."""

    def execute(self, decider: Decider[C, E, S], entity_id: UUID, command: C) -> Sequence[E]:
        """Decide a command on one of the streams; answers the new events. Raises what the rules raise."""


Decide: TypeAlias = Callable[[UnitOfWork], None]
Workflow: TypeAlias = tuple[list[StreamRef], Decide]
"""The streams of a decision, the one that is answered for first, and the decision."""
