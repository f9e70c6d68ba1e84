"""The day of which the document's examples tell."""

from dataclasses import dataclass
from uuid import UUID

import pytest

from api.examples.story import ORDER, Story
from domain.orders import OrderPaid, OrderPlaced, OrderRefunded
from infra.eventsourcing.projections.fold_table import Begins, Ends, Folds, Its
from infra.eventsourcing.projections.projection import ByStream, Projection


@dataclass(frozen=True, kw_only=True)
class Due:
    """An order that waits for its money."""

    order_no: str
    version: int


def due(began: type[OrderPlaced | OrderRefunded]) -> Projection[Due]:
    folds = Folds(Due, {began: Begins(order_no=Its("order_no")), OrderPaid: Ends()})
    return Projection(
        name="due", version=1, row=Due, creates=folds.creates, handles=folds.handles, key=ByStream(), project=folds
    )


def test_what_has_ended_is_shown_as_it_was_last() -> None:
    story = Story()
    assert story.document(due(OrderPlaced), ORDER) == {"order_no": story.placed.order_no, "version": 1}


@pytest.mark.parametrize(("began", "key"), [(OrderRefunded, ORDER), (OrderPlaced, UUID(int=1))])
def test_what_never_happens_there_is_named(began: type[OrderPlaced | OrderRefunded], key: UUID) -> None:
    with pytest.raises(LookupError, match=f"nothing that happens in api.examples.story makes due {key}"):
        Story().document(due(began), key)
