"""Secrets that webhooks are signed with: derived from the server's own secret, and stored nowhere.

To sign, a secret must be had in clear, so that a digest as of API keys would not do. An event names the secret that
counts by an id, which is none. Whoever has the id and not the server's secret knows nothing, and no row can be lost
beside its event.
"""

from base64 import b64encode
from typing import Final
from uuid import UUID

from infra.identity.server_secret import ServerSecret

PREFIX: Final = "whsec_"
_PURPOSE: Final = b"webhook to a subscriber"


async def signing_secret(server: ServerSecret, secret_id: UUID) -> str:
    """The secret of that id, as Standard Webhooks writes it: 32 bytes behind their prefix.

    Raises :class:`~infra.errors.Unavailable` as :meth:`~infra.identity.server_secret.ServerSecret.mac` does.
    """
    return PREFIX + b64encode(await server.mac(_PURPOSE, secret_id.bytes)).decode()
