"""Rates, and how one is kept: the generic cell rate algorithm (ITU-T I.371), one number for each who is counted.

The number is a debt in seconds. Each request adds ``seconds / quota`` to it, time takes it away, and what would raise
it above ``seconds`` is refused. So ``quota`` requests may come at once, and one more each ``seconds / quota``.
"""

import re
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, NamedTuple

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_FORM: Final = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,4})([smh])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_SLACK: Final = 1e-6
"""Sums of fractions of a second must not refuse the last request of a quota."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``quota`` requests in ``seconds``; written ``10/20s``, ``3/15m``, ``50/1h``."""

    quota: int
    seconds: int
    interval: float = field(init=False, repr=False, compare=False)
    """What one request adds to the debt, in seconds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval", self.seconds / self.quota)

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """From its written form. Raises ValueError."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("a rate looks like 10/20s, 3/15m or 50/1h")
        return cls(int(match[1]), int(match[2]) * _UNITS[match[3]])

    def fits(self, debt: float) -> bool:
        """Whether a request may raise the debt this far."""
        return debt <= self.seconds + _SLACK

    def __str__(self) -> str:
        return f"{self.quota}/{self.seconds}s"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Settings give the written form, and are written in it."""
        from_text = core_schema.no_info_after_validator_function(
            cls.parse, core_schema.str_schema(strip_whitespace=True)
        )
        written = core_schema.to_string_ser_schema()
        return core_schema.union_schema([core_schema.is_instance_schema(cls), from_text], serialization=written)


class Standing(NamedTuple):
    """How somebody stands with a rate after a request; ``debt`` in seconds."""

    rate: Rate
    debt: float
    allowed: bool = True

    @property
    def remaining(self) -> int:
        """How many requests would be allowed right now."""
        rate = self.rate
        left = int((rate.seconds - self.debt + _SLACK) / rate.interval)
        return left if left > 0 else 0

    @property
    def reset(self) -> int:
        """Seconds until the whole quota is there again."""
        return ceil(self.debt)

    @property
    def retry_after(self) -> int:
        """Seconds until one more request fits; at least one."""
        return max(1, ceil(self.debt + self.rate.interval - self.rate.seconds))


class Spending(NamedTuple):
    """Requests that were let through and are to be counted afterwards; below zero, given back."""

    policy: str
    subject: str
    rate: Rate
    cost: int
