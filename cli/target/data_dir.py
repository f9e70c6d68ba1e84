"""Options that stand for settings, among them the one by which a command is told which stack is meant."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

DATA_DIR: Final = Path(".weir")


def as_set(context: typer.Context, option: typer.CallbackParam, value: Any) -> Any:
    """What the setting of the option's name says, where the command line says nothing.

    An option's own ``envvar`` would miss what ``.env`` says, and tell of a wrong value in other words.
    """
    from infra.settings import Settings  # dear, and `--help` needs none

    name, source = str(option.name), context.get_parameter_source(str(option.name))
    settings = Settings()
    unsaid = source is not None and source.name == "DEFAULT" and name in settings.model_fields_set
    return getattr(settings, name) if unsaid else value


DataDir = Annotated[
    Path,
    typer.Option("--data-dir", callback=as_set, help="The folder of the `weir up` that is meant; else WEIR_DATA_DIR."),
]
