"""What a check of the doctor has found, and what each check is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from cli.doctor.patient import Patient

Severity: TypeAlias = Literal["ok", "advice", "problem"]
WORST_LAST: Final[Sequence[Severity]] = ("ok", "advice", "problem")
EXIT_CODES: Final = {"ok": 0, "advice": 1, "problem": 2}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be. ``fix`` is a command or a setting; none of it tells a secret.

    A ``problem`` breaks a promise, or soon will; ``advice`` is what a shop at work should not be run with.
    """

    severity: Severity
    told: str
    means: str = ""
    fix: str = ""


def problem(told: str, means: str, fix: str) -> Finding:
    """What breaks a promise."""
    return Finding(severity="problem", told=told, means=means, fix=fix)


def advice(told: str, means: str, fix: str) -> Finding:
    """What could be better."""
    return Finding(severity="advice", told=told, means=means, fix=fix)


Examine: TypeAlias = Callable[[Patient], Awaitable[Sequence[Finding]]]
"""Looks at one thing, and answers what is wrong with it; raises where it cannot look."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A check by its name, within its time."""

    name: str
    examine: Examine
    seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A check that was made. Where it could not be, its one finding says why."""

    name: str
    findings: Sequence[Finding]

    @property
    def severity(self) -> Severity:
        """That of its worst finding."""
        return max((each.severity for each in self.findings), key=WORST_LAST.index, default="ok")
