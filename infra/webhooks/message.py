"""The message of a webhook, by Standard Webhooks 1.0: its three headers, signed with each secret that counts."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from standardwebhooks import Webhook


def headers_of(message_id: UUID, at: datetime, body: str, secrets: Iterable[str]) -> dict[str, str]:
    """The headers of an attempt: the id is that of all attempts, the time is that of this one."""
    signatures = [Webhook(secret).sign(str(message_id), at, body) for secret in secrets]
    return {
        "webhook-id": str(message_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
