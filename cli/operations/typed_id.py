"""What is typed and has no form of its own, because others make it up: an id, an address."""

from typing import Final

import typer

AS_TYPED: Final = {"ignore_unknown_options": True}
"""``context_settings`` of a command that takes one. It may begin with a hyphen, as one key in sixty-four does, and then
it is no option."""


def typed_id(value: str) -> str:
    """A callback of an argument: refuses what is no text, before anybody is asked for it.

    The bytes of a command line that are not UTF-8 are lone surrogates in Python, which no server takes.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{value!a} is not UTF-8.") from None
    return value
