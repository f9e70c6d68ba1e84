"""The keys that sign tokens, and those that the server's secrets are encrypted under."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.errors import CannotUnwrap, NoEncryptionKey
from infra.identity.key_rotation import listed
from infra.identity.key_wrapping import KeyWrapping
from infra.identity.stored_secrets import standing

OLD_DAYS: Final = 365
_LOST: Final = "processes that sign or verify cannot start"


async def signing(patient: Patient) -> Sequence[Finding]:
    """How old the one is that signs."""
    async with patient.database() as database:
        keys = await listed(database)
    signs = next((key for key in keys if not key.waiting), None)
    now = datetime.fromtimestamp(patient.clock(), UTC)
    if signs is None or (age := (now - signs.created_at).days) <= OLD_DAYS:
        return []
    told = f"the key that signs access tokens is {age} days old"
    return [advice(told, "whoever has got hold of it signs for everybody", "`weir keys rotate`")]


async def encryption(patient: Patient) -> Sequence[Finding]:
    """Whether all secrets can be read, and lie under the first key."""
    try:
        wrapping = KeyWrapping(patient.settings.encryption_keys)
    except NoEncryptionKey:
        fix = "WEIR_ENCRYPTION_KEYS, for `weir serve` and `weir worker tasks`: the key that it was used with"
        return [advice("WEIR_ENCRYPTION_KEYS is not set here", "whether it fits was not looked at", fix)]
    async with patient.database() as database:
        try:
            under_others, in_clear = await standing(database, wrapping)
        except CannotUnwrap as error:
            return [problem(str(error), _LOST, "put that key behind the others in WEIR_ENCRYPTION_KEYS")]
    found = []
    if under_others:
        told = f"{under_others} secrets are encrypted under a key that is not the first"
        found.append(advice(told, "the older key cannot be left out", "`weir keys rewrap`"))
    if in_clear:
        told = f"{in_clear} secrets lie in clear beside their encrypted text"
        found.append(advice(told, "a release before this one needed them so", "`weir keys rewrap`"))
    return found
