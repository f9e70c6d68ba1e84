"""The clocks of PostgreSQL and Redis against this machine's."""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient

NOTABLE_SECONDS: Final = 1.0
WRONG_SECONDS: Final = 5.0
_FIX: Final = "synchronise both machines by NTP: `timedatectl set-ntp true`, then `chronyc tracking`"


async def postgres_clock(patient: Patient) -> Sequence[Finding]:
    """By it everything is due."""
    async with patient.postgres() as connection:
        asked = monotonic()
        told: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        took = monotonic() - asked
    return _skew("PostgreSQL", told - patient.clock() + took / 2, took)


async def redis_clock(patient: Patient) -> Sequence[Finding]:
    """By it rates are counted."""
    asked = monotonic()
    told = await patient.redis("TIME")
    took = monotonic() - asked
    now = patient.clock() - took / 2
    times = {server: int(time[0]) + int(time[1]) / 1_000_000 for server, time in told.items()}
    return [finding for server, time in times.items() for finding in _skew(f"Redis at {server}", time - now, took)]


def _skew(server: str, skew: float, took: float) -> Sequence[Finding]:
    """``took``: how long the answer was under way, by half of which it may be wrong."""
    if abs(skew) - took / 2 < NOTABLE_SECONDS:
        return []
    told = f"the clock of {server} is {abs(skew):.1f} s {'before' if skew > 0 else 'behind'} this machine's"
    means = "lags and times in logs are told wrongly, and by a clock that is wrong certificates and signatures are too"
    return [(problem if abs(skew) > WRONG_SECONDS else advice)(told, means, _FIX)]
