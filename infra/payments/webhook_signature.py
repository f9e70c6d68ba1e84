"""The signature of a webhook's message, by Standard Webhooks 1.0: checked, and made for who stands in for a sender.

The library ``standardwebhooks`` knows what is signed and how. Its own check asks this machine's clock, takes any float
for a timestamp and any number of signatures, and stumbles over one that it cannot read where the next is good: so the
signature that is due is made, and compared with those that are there. How long a secret must be says
:mod:`infra.settings`, how long the headers may be the route, and that a message came before is for the domain to find
out. For senders it is told in ``docs/webhook-signing.md``.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr
from standardwebhooks import Webhook

MOST_SIGNATURES: Final = 5
"""During a change of secrets a sender signs with each of them, and separates the signatures by spaces."""

TOLERANCE_SECONDS: Final = 300
"""How long ago a message may have been signed, or how far its sender's clock may be ahead."""

_TIMESTAMP: Final = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_SIGNATURE: Final = re.compile(r"v1,[A-Za-z0-9+/]{43}=", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The three headers of a message."""

    id: str
    timestamp: str
    signatures: str

    def is_of(self, body: bytes, secret: SecretStr | None, now: float) -> bool:
        """Whether who knows the secret has signed this body within the five minutes before ``now``, in Unix seconds;
        nobody has without one."""
        if secret is None or not _TIMESTAMP.fullmatch(self.timestamp):
            return False
        if abs(int(self.timestamp) - now) > TOLERANCE_SECONDS:
            return False
        readable = filter(_SIGNATURE.fullmatch, self.signatures.split(" ")[:MOST_SIGNATURES])
        at = datetime.fromtimestamp(int(self.timestamp), UTC)
        try:
            good = Webhook(secret.get_secret_value()).sign(self.id, at, body.decode())
        except UnicodeDecodeError:
            return False
        return bool(self.id) and any(hmac.compare_digest(good, each) for each in readable)


def sign(secret: str, body: bytes, *, message_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
    """The three headers of a message, as the payment provider would send them; a message of now, unless told."""
    message_id, at = message_id or f"msg_{secrets.token_hex(8)}", at or datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }
