"""An id as it is typed that has no form of its own, because others make it up."""

import typer


def typed_id(value: str) -> str:
    """A callback of an argument: refuses what is no text, before anybody is asked for it.

    The bytes of a command line that are not UTF-8 are lone surrogates in Python, which no server takes.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{value!a} is not UTF-8.") from None
    return value
