"""The secrets of one data directory: made on the first start, kept in a file for its owner's eyes alone."""

import base64
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from infra.embedded import write_private
from infra.settings import environment

ADMIN_EMAIL = "WEIR_ADMIN_EMAIL"
ADMIN_PASSWORD = "WEIR_ADMIN_PASSWORD"  # noqa: S105 - the variable's name
PROVIDER_KEY = "WEIR_PAYMENT_PROVIDER_KEY"
ENCRYPTION_KEYS = "WEIR_ENCRYPTION_KEYS"


def credentials(directory: Path) -> dict[str, str]:
    """The first admin, what we share with the payment provider, and what encrypts the server's secrets, as environment.
    What the caller has set goes first.

    A directory of an older release lacks some, and gets them.
    """
    known, new = kept(directory), _new()
    said = environment()
    given = {name: value for name in new if (value := said.get(name))}
    if made := {name: value for name, value in new.items() if name not in known and name not in given}:
        _keep(directory, known | made)
    return {**known, **made, **given}


def remember(directory: Path, used: Mapping[str, str]) -> None:
    """Keep what the caller has set and the directory had no other for, so that a start without it goes on the same.

    Only once all has started: what was refused must not be kept.
    """
    known = kept(directory)
    if missing := {name: value for name, value in used.items() if name not in known}:
        _keep(directory, known | missing)


def another_admin(directory: Path, used: Mapping[str, str]) -> str | None:
    """What to say where the caller names an admin who is not the one that the directory has begun with."""
    first, named = kept(directory).get(ADMIN_EMAIL), used[ADMIN_EMAIL]
    if first is None or first.casefold() == named.casefold():
        return None
    return f"{ADMIN_EMAIL} names {named}, an admin beside {first}, whom {directory} has begun with"


def kept(directory: Path) -> dict[str, str]:
    """What the file holds; nothing before the first start."""
    try:
        content: dict[str, str] = json.loads(secrets_file(directory).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def secrets_file(directory: Path) -> Path:
    """Where they are."""
    return directory / "secrets.json"


def _keep(directory: Path, content: Mapping[str, str]) -> None:
    write_private(secrets_file(directory), json.dumps(content, indent=2))


def _new() -> dict[str, str]:
    return {
        ADMIN_EMAIL: "admin@weir.example",
        ADMIN_PASSWORD: secrets.token_urlsafe(18),
        PROVIDER_KEY: secrets.token_urlsafe(32),
        ENCRYPTION_KEYS: base64.b64encode(secrets.token_bytes(32)).decode(),
        "WEIR_PAYMENT_WEBHOOK_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }
