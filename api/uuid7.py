"""New ids come in here, so that the rules stay pure."""

import os
import time
from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then random ones, so that ids sort by age."""
    random = int.from_bytes(os.urandom(10), "big")
    high = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (random >> 68) << 64
    return UUID(int=high | 0b10 << 62 | random & (1 << 62) - 1)
