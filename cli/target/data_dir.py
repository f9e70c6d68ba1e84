"""The option by which a command is told which stack is meant."""

from pathlib import Path
from typing import Annotated, Final

import typer

DATA_DIR: Final = Path(".weir")
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="WEIR_DATA_DIR", help="The folder of the `weir up` that is meant.")
]
