"""The secrets of one data directory: made on the first start, kept in a file for its owner's eyes alone."""

import base64
import json
import os
import secrets
from pathlib import Path

from infra.embedded import write_private


def credentials(directory: Path) -> dict[str, str]:
    """The first admin and the payment provider's secret, as environment. What the caller has set goes first."""
    path = directory / "secrets.json"
    if not path.exists():
        write_private(path, json.dumps(_new(), indent=2))
    kept: dict[str, str] = json.loads(path.read_text())
    return {name: os.environ.get(name) or value for name, value in kept.items()}


def _new() -> dict[str, str]:
    return {
        "WEIR_ADMIN_EMAIL": "admin@weir.example",
        "WEIR_ADMIN_PASSWORD": secrets.token_urlsafe(18),
        "WEIR_PAYMENT_WEBHOOK_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }
