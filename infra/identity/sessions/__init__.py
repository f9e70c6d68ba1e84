"""Sessions, and the refresh tokens that keep one alive.

A session is one family of refresh tokens. Each token is used once; its successor is derived from it, so that it can be
told a second time, to a client that lost the answer, without being stored::

    random ──rotate──▶ mac(random) ──rotate──▶ mac(mac(random)) …     one live token per session
       └── again within the grace, its successor unused: the same successor
       └── again otherwise: two parties hold it, one of them a thief (RFC 9700 section 4.14.2)

That a session ends is told to the log first and written here after (:mod:`infra.identity.void_rows`); whether it goes
on in between, :meth:`domain.accounts.Account.keeps` says.
"""

from infra.identity.sessions.statements import GRACE_SECONDS, LIFE_DAYS, MOST_LIVE
from infra.identity.sessions.store import (
    LONGEST_TOKEN,
    Client,
    Reused,
    Rotated,
    Rotation,
    Session,
    Sessions,
    Unknown,
    Void,
    end,
    end_older,
)

__all__ = [
    "GRACE_SECONDS",
    "LIFE_DAYS",
    "LONGEST_TOKEN",
    "MOST_LIVE",
    "Client",
    "Reused",
    "Rotated",
    "Rotation",
    "Session",
    "Sessions",
    "Unknown",
    "Void",
    "end",
    "end_older",
]
