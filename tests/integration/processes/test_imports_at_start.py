"""Who starts a process waits for what it imports: each loads what it runs, and nothing dear that it does not."""

from pathlib import Path

import pytest

from cli.supervisor.reload import PACKAGES, ROOT, users_of
from tests.support.loading import loaded_by

STATEMENTS = {"sqlalchemy"}
HTTP_API = {"fastapi", "starlette", "argon2", "PIL"}
MAIL = {"jinja2", "babel", "css_inline", "aiosmtplib"}
OUTSIDE = {"httpx2", "obstore"}
SERVERS = {"asyncpg", "redis", "arq", "prometheus_client", "domain.registry", "pydantic_settings"}
TOOLS = {"alembic", "typer", "pytest"}
ALL = STATEMENTS | HTTP_API | MAIL | OUTSIDE | SERVERS | TOOLS

STARTS = {
    "api": "import api.server",
    "relay": "from workers.main import parts_of; parts_of(['relay'])",
    "projections": "from workers.main import parts_of; parts_of(['projections'])",
    "tasks": "from workers.main import parts_of; parts_of(['tasks'])",
    "mailsink": "import cli.mailsink",
    "provider": "import cli.provider",
}
"""What each process of a stack imports at its start."""

WITHOUT = {
    "import cli.main": ALL - {"typer"},
    "from cli.main import build; build(['serve']); build(['worker']); build(['mail'])": ALL - {"typer"},
    "import cli.up": STATEMENTS | HTTP_API | MAIL | OUTSIDE | {"redis", "arq", "domain.registry", "alembic"},
    "import cli.operations.migrate": HTTP_API | MAIL | OUTSIDE | {"redis", "arq"},
    "import cli.operations.parked": HTTP_API | MAIL | OUTSIDE | {"arq", "infra.eventsourcing.commands.handler"},
    STARTS["relay"]: STATEMENTS | HTTP_API | MAIL | OUTSIDE | TOOLS | {"arq"},
    STARTS["projections"]: HTTP_API | MAIL | OUTSIDE | TOOLS | {"infra.eventsourcing.commands.handler"},
    STARTS["tasks"]: HTTP_API | TOOLS,
    "import workers.rebuilds.process": HTTP_API | MAIL | OUTSIDE | TOOLS | {"arq", "infra.write_side"},
    STARTS["api"]: MAIL - {"jinja2"} | TOOLS | {"httpx2", "arq"},
}
"""What a process does at its start, and what it gets by without."""

EMPTY = {"cli/__init__.py", "migrations/__init__.py"}


@pytest.fixture(scope="module")
def loaded() -> dict[str, dict[str, str | None]]:
    return loaded_by({*WITHOUT, *STARTS.values()})


@pytest.mark.parametrize("code", WITHOUT)
def test_a_process_loads_nothing_dear_that_it_does_not_run(code: str, loaded: dict[str, dict[str, str | None]]) -> None:
    assert sorted(WITHOUT[code] & loaded[code].keys()) == []


@pytest.mark.parametrize("name", STARTS)
def test_every_file_that_a_process_loads_at_its_start_has_it_started_anew_by_a_change(
    name: str, loaded: dict[str, dict[str, str | None]]
) -> None:
    files = [Path(file) for file in loaded[STARTS[name]].values() if file and Path(file).is_relative_to(ROOT)]
    paths = [file.relative_to(ROOT).as_posix() for file in files if file.relative_to(ROOT).parts[0] in PACKAGES]
    assert {path for path in paths if name not in users_of([path])} <= EMPTY
