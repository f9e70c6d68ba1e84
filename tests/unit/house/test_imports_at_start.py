"""Who starts a process waits for what it imports: each loads what it runs, and nothing dear that it does not."""

import pytest

from tests.support.loading import loaded_by

STATEMENTS = {"sqlalchemy"}
HTTP_API = {"fastapi", "starlette", "argon2", "PIL"}
MAIL = {"jinja2", "babel", "css_inline", "aiosmtplib"}
OUTSIDE = {"httpx2", "obstore"}
SERVERS = {"asyncpg", "redis", "arq", "prometheus_client", "domain.registry", "pydantic_settings"}
TOOLS = {"alembic", "typer", "pytest"}
ALL = STATEMENTS | HTTP_API | MAIL | OUTSIDE | SERVERS | TOOLS

WITHOUT = {
    "import cli.main": ALL - {"typer"},
    "from cli.main import build; build(['serve']); build(['worker']); build(['mail'])": ALL - {"typer"},
    "import cli.up": STATEMENTS | HTTP_API | MAIL | OUTSIDE | {"redis", "arq", "domain.registry", "alembic"},
    "import cli.operations.migrate": HTTP_API | MAIL | OUTSIDE | {"redis", "arq"},
    "import cli.operations.parked": HTTP_API | MAIL | OUTSIDE | {"arq", "infra.eventsourcing.commands.handler"},
    "from workers.main import parts_of; parts_of(['relay'])": STATEMENTS | HTTP_API | MAIL | OUTSIDE | TOOLS | {"arq"},
    "from workers.main import parts_of; parts_of(['projections'])": HTTP_API
    | MAIL
    | OUTSIDE
    | TOOLS
    | {"infra.eventsourcing.commands.handler"},
    "from workers.main import parts_of; parts_of(['tasks'])": HTTP_API | TOOLS,
    "import workers.rebuilds.process": HTTP_API | MAIL | OUTSIDE | TOOLS | {"arq", "infra.write_side"},
    "import api.server": MAIL - {"jinja2"} | TOOLS | {"httpx2", "arq"},
}
"""What a process does at its start, and what it gets by without."""


@pytest.fixture(scope="module")
def loaded() -> dict[str, dict[str, str | None]]:
    return loaded_by(WITHOUT)


@pytest.mark.parametrize("code", WITHOUT)
def test_a_process_loads_nothing_dear_that_it_does_not_run(code: str, loaded: dict[str, dict[str, str | None]]) -> None:
    assert sorted(WITHOUT[code] & loaded[code].keys()) == []
