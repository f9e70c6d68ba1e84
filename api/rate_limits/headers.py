"""Headers that tell clients about their limits, and the refusal of what exceeds them."""

from collections.abc import Mapping

from api.errors import Problem
from api.http.response import Headers
from infra.rate_limits.gcra import Rate, Standing


class LimitHeaders:
    """The RateLimit fields of one answer (draft-ietf-httpapi-ratelimit-headers-10): of several rates the scarcest."""

    __slots__ = ("_name", "_policy", "_standing")

    def __init__(self, policy: bytes) -> None:
        self._policy = policy
        self._name = ""
        self._standing: Standing | None = None

    def stands(self, name: str, standing: Standing) -> None:
        """With the rate of that name. Raises :class:`~api.errors.Problem` ``too-many-requests`` if it is exceeded."""
        known = self._standing
        if known is None or not standing.allowed or standing.remaining < known.remaining:
            self._name, self._standing = name, standing
        if not standing.allowed:
            raise Problem("too-many-requests", headers=((b"retry-after", b"%d" % standing.retry_after),))

    def headers(self) -> Headers:
        """The policy, and how much of it is left if that is known."""
        standing = self._standing
        if standing is None:
            return [(b"ratelimit-policy", self._policy)]
        left = b'"%b";r=%d;t=%d' % (self._name.encode("ascii"), standing.remaining, standing.reset)
        return [(b"ratelimit-policy", self._policy), (b"ratelimit", left)]


def policy_of(rates: Mapping[str, Rate]) -> bytes:
    """The RateLimit-Policy field for rates by name."""
    return ", ".join(f'"{name}";q={rate.quota};w={rate.seconds}' for name, rate in rates.items()).encode("ascii")
