"""What is wrong with the settings, for a person: a row for each, with what was given and what is needed; no secret."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TextIO

from pydantic import ValidationError

from infra.settings.model import Settings
from infra.settings.names import PREFIX, is_secret, name_of, nearest
from infra.settings.process import ABSENT
from infra.settings.reference import form_of
from infra.settings.urls import masked, place_of
from infra.settings.values import Misgiven

LONGEST: Final = 60
NOT_SET: Final = "not set"
HIDDEN: Final = "not shown"


class Fault(NamedTuple):
    """A setting that is wrong: its variable, what that said, and what is needed."""

    name: str
    given: str
    needed: str

    def __str__(self) -> str:
        given = {NOT_SET: "is not set", HIDDEN: "(not shown)"}.get(self.given, f"is {self.given}")
        return f"{self.name} {given}: {self.needed}"


def faults_of(error: ValueError) -> list[Fault] | None:
    """One for each setting that is wrong; None for an error that is not about settings."""
    if not isinstance(error, ValidationError) or error.title != Settings.__name__:
        return None
    faults: dict[str, Fault] = {}
    for each in error.errors(include_url=False):
        fault = _fault(str(each["loc"][0]), each)
        faults.setdefault(fault.name, fault)
    return list(faults.values())


def show(faults: list[Fault], out: TextIO) -> None:
    """A table at a terminal, elsewhere a line for each."""
    head = "the settings are wrong; nothing was started, and nothing was changed"
    if not out.isatty():
        print(head, *faults, sep="\n", file=out)
        return
    from rich.console import Console  # only who has something to show needs it
    from rich.table import Table
    from rich.text import Text

    table = Table("setting", "given", "needed", show_lines=True)
    for fault in faults:
        table.add_row(*map(Text, fault))
    console = Console(file=out)
    console.print(head, style="red")
    console.print(table)


def _fault(field: str, error: Mapping[str, Any]) -> Fault:
    given, info = error["input"], Settings.model_fields.get(field)
    if isinstance(given, Misgiven):
        return Fault(given.name, _shown(given.given), given.why)
    if info is None:
        near = nearest(field if field.startswith(PREFIX) else f"{PREFIX}{field.upper()}", Settings.model_fields)
        return Fault(field, HIDDEN, f"there is no such setting{f'; is it {near}?' if near else ''}")
    name = name_of(field, info)
    if error["type"] == ABSENT:
        return Fault(name, NOT_SET, error["msg"])
    # What our own rules say is about this very value; pydantic's words are for whoever writes the class.
    needed = str(error["ctx"]["error"]) if error["type"] == "value_error" else f"must be {form_of(field)}"
    return Fault(name, _without_secret(given) if is_secret(info.annotation) else _shown(given), needed)


def _without_secret(given: object) -> str:
    place = place_of(str(given))
    return HIDDEN if place is None else _shown(place)


def _shown(given: object) -> str:
    """What was given, as far as it is short."""
    text = masked(str(given))
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
