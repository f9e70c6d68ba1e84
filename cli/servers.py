"""Which servers a command speaks to: those of ``DATABASE_URL``, else of the stack that runs in the data directory."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from infra.settings import Settings

DATA_DIR: Final = Path(".weir")
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="WEIR_DATA_DIR", help="The folder of the `weir up` that is meant.")
]


def settings_for(data_dir: Path) -> Settings:
    """The settings of what the command is to work on: the environment's, else those that the running stack is told."""
    named = Settings()
    if "database_url" in named.model_fields_set:
        return named
    told: dict[str, Any] = {name.removeprefix("WEIR_").lower(): value for name, value in _told(data_dir).items()}
    if not told:
        typer.echo(f"nothing runs in {data_dir.absolute()}, and DATABASE_URL is not set", err=True)
        raise typer.Exit(1)
    return Settings(**{name: told[name] for name in told.keys() & Settings.model_fields.keys()})


def api_url_for(data_dir: Path) -> str:
    """Where the API of the running stack is; without one, where it is by default."""
    return f"http://localhost:{_told(data_dir).get('WEIR_PORT') or Settings().port}"


def _told(data_dir: Path) -> Mapping[str, str]:
    """The environment of the stack's API; of nothing where none runs, or one that is somebody else's."""
    try:
        pid: int = json.loads((data_dir / "run" / "api.pid").read_text())["pid"]
        content = Path(f"/proc/{pid}/environ").read_bytes().decode()
    except (OSError, ValueError, KeyError):
        return {}
    return dict(line.partition("=")[::2] for line in content.split("\0") if line)
