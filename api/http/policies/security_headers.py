"""The edge's rules for every request and every answer, whatever its route: made once, from the settings."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from api.http.policies.cors import Cors
from api.http.policies.trusted_hosts import ANY, Hosts
from api.http.policies.trusted_proxies import Proxies
from api.http.response import Headers
from infra.settings import Settings

YEAR_SECONDS: Final = 365 * 24 * 3600

# Sources: OWASP ASVS 5.0, V3.4; OWASP HTTP Headers Cheat Sheet.
ALWAYS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
HSTS: Final = (b"strict-transport-security", b"max-age=%d; includeSubDomains" % YEAR_SECONDS)

SITE_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What pages of several files may do: load them from here, and ask nobody but this server."""

_READS: Final = frozenset({"GET", "HEAD"})
_VARIES_BY_ENCODING: Final = (b"vary", b"accept-encoding")
_VARIES_BY_ORIGIN: Final = (b"vary", b"origin")
_VARIES_BOTH: Final = (b"vary", b"accept-encoding, origin")


def page_policy(style: str, *, forms: str = "'none'") -> bytes:
    """What a page of ours may do: show its own style, known by its digest, and send its forms there; nothing else."""
    digest = b64encode(sha256(style.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action {forms}; base-uri 'none'; frame-ancestors 'none'"
    ).encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """None where there is nothing to check. ``always`` is said unless the answer says otherwise itself."""

    hosts: Hosts | None = None
    proxies: Proxies | None = None
    cors: Cors | None = None
    always: tuple[tuple[bytes, bytes], ...] = tuple(ALWAYS)

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """As the settings have it."""
        secure = settings.public_url.lower().startswith("https:")
        return cls(
            hosts=None if ANY in settings.allowed_hosts else Hosts(settings.allowed_hosts),
            proxies=Proxies(settings.trusted_proxies) if settings.trusted_proxies else None,
            cors=Cors(settings.cors_origins) if settings.cors_origins else None,
            always=(*ALWAYS, *([HSTS] if secure else [])),
        )

    def dressed(self, headers: Headers, method: str, asked: Mapping[bytes, bytes]) -> Headers:
        """An answer's headers with what every answer says. An answer that says nothing of caches must not be kept."""
        named = dict(headers)
        dressed = [*headers, *[header for header in self.always if header[0] not in named]]
        if self.cors is not None:
            return [*dressed, *self.cors.headers(asked), _VARIES_BOTH if method in _READS else _VARIES_BY_ORIGIN]
        if method in _READS:
            dressed.append(_VARIES_BY_ENCODING)
        return dressed
