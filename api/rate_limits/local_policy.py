"""Requests that each process counts by itself, without waiting: by source, or by account or API key where known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from api.http.principal import Principal
from api.http.request_context import RequestState
from api.http.response import Headers
from api.rate_limits.headers import LimitHeaders, policy_of
from infra.rate_limits.local_limiter import Meter

WRONG_PASSWORD: Final = frozenset({"invalid-credentials", "wrong-password"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedHere:
    """The gate of a class of routes.

    ``meter`` counts sources. With ``strangers``, who shows good credentials is counted as an account or an API key, and
    who shows bad ones by that other meter; so it is for routes that ask for credentials, or showing some would be a way
    around it. With ``failures``, only wrong passwords count.
    """

    meter: Meter
    strangers: Meter | None = None
    failures: bool = False
    policy: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", policy_of({self.meter.policy: self.meter.rate}))

    def enter(self, source: str, headers: Mapping[bytes, bytes]) -> "VisitHere":
        """A request of a source."""
        shown = self.strangers is not None and (b"authorization" in headers or b"x-api-key" in headers)
        return VisitHere(self, source, credentials=shown)


class VisitHere:
    """One request."""

    __slots__ = ("_credentials", "_gate", "_source", "_taken", "_told")

    def __init__(self, gate: CountedHere, source: str, *, credentials: bool) -> None:
        self._gate = gate
        self._source = source
        self._credentials = credentials
        self._taken: str | None = None
        self._told = LimitHeaders(gate.policy)

    def begin(self) -> None:
        """Without credentials it is counted at once."""
        strangers = self._gate.strangers
        if not self._credentials:
            self._take(f"s:{self._source}")
        elif strangers is not None and not (standing := strangers.stands(self._source)).allowed:
            self._told.stands(strangers.policy, standing)

    def identified(self, principal: Principal) -> None:
        """The credentials are good."""
        if self._credentials:
            self._take(subject_of(principal))

    def _take(self, subject: str) -> None:
        meter = self._gate.meter
        self._told.stands(meter.policy, meter.take(subject))
        self._taken = subject

    async def admit(self, body: bytes) -> None:
        """Nothing is counted anywhere else."""

    async def writes_to(self, address: str) -> None:
        """Addresses are not counted here."""

    def headers(self) -> Headers:
        """The RateLimit fields."""
        return self._told.headers()

    def leave(self, exchange: RequestState) -> None:
        """Credentials that proved nothing count against their source."""
        gate = self._gate
        if gate.failures and self._taken is not None and exchange.code not in WRONG_PASSWORD:
            gate.meter.give_back(self._taken)
        if self._credentials and exchange.principal is None and gate.strangers is not None:
            gate.strangers.take(self._source)


def subject_of(principal: Principal) -> str:
    """Each API key has a budget of its own, beside its account's."""
    key = principal.api_key_id
    return f"a:{principal.id}" if key is None else f"k:{key}"
