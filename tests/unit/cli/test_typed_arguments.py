"""What is typed behind a command as others made it up arrives as it is, whatever it begins with."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

import pytest
import typer

from cli.main import COMMANDS

NAMES_OF_OURS: Final = {"env", "replay", "reference", "mail preview"}
"""Commands whose argument is one of a few names that we made up."""


def commands(group: Any, *words: str) -> Iterator[tuple[str, Any]]:
    """Each command below a group, by the words that call it."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, word)
        else:
            yield " ".join([*words, word]), command


def all_commands() -> dict[str, Any]:
    app = typer.Typer()
    app.callback()(lambda: None)
    for entry in COMMANDS.values():
        import_module(entry.module).register(app)
    return dict(commands(typer.main.get_command(app)))


def texts(command: Any) -> list[str]:
    """Its arguments that may be any text."""
    arguments = (each for each in command.params if each.param_type_name == "argument")
    return [each.name for each in arguments if each.type_descriptor.annotation in (str, list[str])]


ALL: Final = all_commands()
AS_TYPED: Final = sorted(words for words, command in ALL.items() if texts(command) and words not in NAMES_OF_OURS)


def test_these_are_the_commands_that_take_what_others_made_up() -> None:
    assert AS_TYPED == ["keys revoke", "mail link", "refunds retry"]


@pytest.mark.parametrize("words", AS_TYPED)
@pytest.mark.parametrize("typed", ["-pQussjiQZ", "--pQussjiQ", "-", "-h", "-y@example.org"])
def test_it_may_begin_with_a_hyphen(words: str, typed: str) -> None:
    (name,) = texts(ALL[words])
    context = ALL[words].make_context(words, [typed, "--data-dir", "elsewhere"])
    assert (context.params[name], str(context.params["data_dir"])) == (typed, "elsewhere")
