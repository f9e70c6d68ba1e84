"""The secrets of one data directory: made on the first start, kept in a file for its owner's eyes alone."""

import base64
import json
import secrets
from pathlib import Path

from infra.embedded import write_private
from infra.settings import environment

PROVIDER_KEY = "WEIR_PAYMENT_PROVIDER_KEY"
ENCRYPTION_KEYS = "WEIR_ENCRYPTION_KEYS"


def credentials(directory: Path) -> dict[str, str]:
    """The first admin, what we share with the payment provider, and what encrypts the server's secrets, as environment.
    What the caller has set goes first.

    A directory of an older release lacks some, and gets them.
    """
    path = directory / "secrets.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if missing := {name: value for name, value in _new().items() if name not in kept}:
        kept |= missing
        write_private(path, json.dumps(kept, indent=2))
    return kept | {name: value for name, value in environment().items() if name in kept and value}


def _new() -> dict[str, str]:
    return {
        "WEIR_ADMIN_EMAIL": "admin@weir.example",
        "WEIR_ADMIN_PASSWORD": secrets.token_urlsafe(18),
        PROVIDER_KEY: secrets.token_urlsafe(32),
        ENCRYPTION_KEYS: base64.b64encode(secrets.token_bytes(32)).decode(),
        "WEIR_PAYMENT_WEBHOOK_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }
