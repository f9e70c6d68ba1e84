"""What each kind of process cannot do without, and so what it insists on before it starts."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from infra.settings.model import Settings

Process: TypeAlias = Literal["serve", "relay", "projections", "tasks", "keys"]

ABSENT = "not_set"
"""The type of these errors, as pydantic has types of its own."""


def settings_of(*processes: Process) -> Settings:
    """The settings of a process that is all of these. Raises ``ValidationError``, also for what is missing."""
    return insisting(Settings(), *processes)


def insisting(settings: Settings, *processes: Process) -> Settings:
    """The same settings, if they are enough for all of these. Raises ``ValidationError`` for what is missing."""
    if absent := dict(_absent(settings, *processes)):
        raise ValidationError.from_exception_data(
            Settings.__name__,
            [
                InitErrorDetails(type=PydanticCustomError(ABSENT, "{why}", {"why": why}), loc=(field,), input=None)
                for field, why in absent.items()
            ],
            hide_input=True,
        )
    return settings


def _absent(settings: Settings, *processes: Process) -> Iterator[tuple[str, str]]:
    """The fields that are needed and not there, and why they are needed."""
    if {"serve", "tasks", "keys"} & {*processes} and not settings.encryption_keys:
        yield (
            "encryption_keys",
            "the server's secrets are kept encrypted; a new database takes what `openssl rand -base64 32` says, an"
            " older one needs the key that it was used with",
        )
    if "serve" in processes:
        yield from _absent_from_the_api(settings)
    if "tasks" in processes and settings.payment_provider_url and settings.environment != "development":
        yield from _halves(settings, "payment_provider_url", "payment_provider_key")
    if {"serve", "tasks"} & {*processes}:
        yield from _halves(settings, "storage_access_key_id", "storage_secret_access_key")


def _absent_from_the_api(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from _halves(settings, "admin_email", "admin_password")
    if settings.payment_webhook_secret is None and settings.environment != "development":
        yield (
            "payment_webhook_secret",
            "no payment can be taken without it, and every order would end unpaid; for a shop to play with set"
            " WEIR_ENVIRONMENT=development",
        )


def _halves(settings: Settings, *names: str) -> Iterator[tuple[str, str]]:
    """Two that are nothing without each other."""
    there = [name for name in names if getattr(settings, name) is not None]
    if len(there) == 1:
        yield from ((name, f"WEIR_{there[0].upper()} is nothing without it") for name in names if name not in there)
