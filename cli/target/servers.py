"""Which servers a command speaks to: those of ``DATABASE_URL``, else of the stack that runs in the data directory."""

from collections.abc import Mapping
from pathlib import Path

import typer

from cli.target.run_file import RunFile, Running
from infra.settings import Settings, environment


class NotRunning(Exception):
    """No servers are named, and no stack is found; the text says what to do."""


def settings_for(data_dir: Path) -> Settings:
    """The settings of what the command is to work on, its servers among them; ends the command where there are none.

    What ``DATABASE_URL`` names goes first, with all that the environment says beside it. Else they are those of the
    running stack, and of those alone: a caller's ``ARQ_REDIS_URL`` is of other servers.
    """
    named = Settings()
    if "database_url" in named.model_fields_set:
        return named
    told = {name.removeprefix("WEIR_").lower(): value for name, value in stack_in(data_dir).environment.items()}
    return Settings(**{name: told.get(name, field.default) for name, field in Settings.model_fields.items()})


def environment_for(data_dir: Path) -> Mapping[str, str]:
    """The same as variables of an environment."""
    if "database_url" in Settings().model_fields_set:
        said = environment()
        return {name: value for name, value in said.items() if name.endswith("_URL") or name.startswith("WEIR_")}
    stack = stack_in(data_dir)
    return {"WEIR_URL": stack.api_url, **stack.environment}


def stack_in(data_dir: Path) -> Running:
    """The stack that runs in a data directory; ends the command where there is none."""
    try:
        return found(data_dir)
    except NotRunning as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def found(data_dir: Path) -> Running:
    """The stack that runs there. Raises :class:`NotRunning`."""
    directory = data_dir.absolute()
    demo = directory / "demo"
    try:
        running, shown = RunFile(directory).read(), RunFile(demo).read()
    except PermissionError:
        raise NotRunning(f"what runs in {directory} is its owner's affair: ask as that user") from None
    if running is not None:
        return running
    elsewhere = f"; one runs in {demo}: `--data-dir {demo}`" if shown else ""
    raise NotRunning(
        f"nothing runs in {directory}{elsewhere}\n"
        "start it with `weir up`, name another folder with --data-dir, or servers with DATABASE_URL and REDIS_URL"
    )


def stack_meant(data_dir: Path) -> Running | None:
    """The stack that runs there, for who can do without one; none where ``DATABASE_URL`` names another database."""
    named = Settings()
    try:
        running = found(data_dir)
    except NotRunning:
        return None
    own = named.database_url.get_secret_value() == running.environment["DATABASE_URL"]
    return running if own or "database_url" not in named.model_fields_set else None


def api_url_for(data_dir: Path) -> str:
    """Where the API of the running stack is; without one, where it is by default."""
    running = stack_meant(data_dir)
    return running.api_url if running else f"http://localhost:{Settings().port}"
