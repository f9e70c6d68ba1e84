"""The shop's events as they are stored."""

from typing import Final

from domain.registry import REGISTRY
from infra.eventsourcing.codec import EventCodec

CODEC: Final = EventCodec(REGISTRY)
"""What each process opens the log with."""
