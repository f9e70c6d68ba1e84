"""The signature of a webhook's message, by Standard Webhooks 1.0: checked, and made for who stands in for a sender.

The library ``standardwebhooks`` knows the format, the tolerance of five minutes and the comparison. It takes any float
for a timestamp and any number of signatures, and stumbles over one that it cannot read where the next is good: so only
what is of the form goes to it. How long a secret must be says :mod:`infra.settings`, how long the headers may be the
route, and that a message came before is for the domain to find out. For senders it is told in
``docs/webhook-signing.md``.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

MOST_SIGNATURES: Final = 5
"""During a change of secrets a sender signs with each of them, and separates the signatures by spaces."""

_TIMESTAMP: Final = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_SIGNATURE: Final = re.compile(r"v1,[A-Za-z0-9+/]{43}=", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """The three headers of a message."""

    id: str
    timestamp: str
    signatures: str

    def is_of(self, body: bytes, secret: SecretStr | None) -> bool:
        """Whether who knows the secret has signed this body within the last five minutes; nobody has without one."""
        if secret is None or not _TIMESTAMP.fullmatch(self.timestamp):
            return False
        readable = filter(_SIGNATURE.fullmatch, self.signatures.split(" ")[:MOST_SIGNATURES])
        headers = {
            "webhook-id": self.id,
            "webhook-timestamp": self.timestamp,
            "webhook-signature": " ".join(readable),
        }
        try:
            Webhook(secret.get_secret_value()).verify(body, headers, json_parse=False)
        except (WebhookVerificationError, UnicodeDecodeError):
            return False
        return True


def sign(secret: str, body: bytes, *, message_id: str | None = None, at: datetime | None = None) -> dict[str, str]:
    """The three headers of a message, as the payment provider would send them; a message of now, unless told."""
    message_id, at = message_id or f"msg_{secrets.token_hex(8)}", at or datetime.now(UTC)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body.decode()),
    }
