"""Deletes pictures that no product is shown by any more, and those that none ever was."""

from functools import partial
from typing import Any
from uuid import UUID

import structlog

from domain.catalogue import PRODUCTS
from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.store import Known, read_states
from infra.postgres.pool import Database
from infra.storage.product_images import ImageFiles

_log = structlog.get_logger("weir.images")


async def sweep_images(ctx: dict[str, Any]) -> None:
    """The job: what is due to be looked at."""
    images: ImageFiles = ctx["images"]
    if deleted := await images.sweep(partial(is_shown, ctx["database"], ctx["log"])):
        _log.info("pictures deleted", count=deleted)


async def is_shown(database: Database, log: EventLog, product_id: UUID, file: str) -> bool:
    """By the log itself: a read model may be behind."""
    (settled,) = await read_states(database, log.codec.decode, [Known(PRODUCTS, PRODUCTS.stream_id(product_id))])
    product = settled.state
    return product is not None and product.image is not None and product.image.file == file
