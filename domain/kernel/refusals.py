"""Refusals: why a command cannot be carried out. They know nothing of HTTP; one table in ``api`` maps them."""

from typing import ClassVar


class Refusal(Exception):
    """A rule forbids the command. Nothing was stored.

    ``code`` is stable and public; ``pointer`` is the JSON pointer of the field at fault, where there is one.
    """

    code: ClassVar[str]

    def __init__(self, detail: str, *, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer


class AlreadyTaken(Refusal):
    """A unique key, such as an email or a sku, is held by another stream."""

    code = "already-taken"


class AlreadyExists(Refusal):
    """The command would make a thing that is there already."""

    code = "already-exists"


class DoesNotExist(Refusal):
    """The command speaks to a thing that was never made."""

    code = "not-found"


class InvalidValue(Refusal):
    """A value is outside what the shop can hold; ``pointer`` names it."""

    code = "invalid-value"
