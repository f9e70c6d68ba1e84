"""Who starts a process waits for what it imports: each loads what it runs, and nothing dear that it does not."""

import json
import os
import subprocess
import sys

import pytest

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
    "import cli.migrate": HTTP_API | MAIL | OUTSIDE | {"redis", "arq"},
    "import cli.parked": HTTP_API | MAIL | OUTSIDE | {"arq", "infra.eventsourcing.commands.handler"},
    "from workers.main import parts_of; parts_of(['relay'])": STATEMENTS | HTTP_API | MAIL | OUTSIDE | TOOLS | {"arq"},
    "from workers.main import parts_of; parts_of(['projections'])": HTTP_API
    | MAIL
    | OUTSIDE
    | TOOLS
    | {"infra.eventsourcing.commands.handler"},
    "from workers.main import parts_of; parts_of(['tasks'])": HTTP_API | TOOLS,
    "import workers.rebuild_process": HTTP_API | MAIL | OUTSIDE | TOOLS | {"arq", "infra.write_side"},
    "import api.server": MAIL - {"jinja2"} | TOOLS | {"httpx2", "arq"},
}
"""What a process does at its start, and what it gets by without."""

# A fork knows what is loaded by then, and forgets with its end what it has loaded itself: one start of Python for all.
PROGRAM = """
import json, os, sys
for code, without in json.load(sys.stdin).items():
    if os.fork() == 0:
        exec(code)
        print(json.dumps([code, sorted(set(without) & set(sys.modules))]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What each loads of that which it should not."""
    asked = json.dumps({code: sorted(without) for code, without in WITHOUT.items()})
    run = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(run, input=asked, capture_output=True, text=True, check=True, env=os.environ, timeout=120)
    return dict(map(json.loads, told.stdout.splitlines()))


@pytest.mark.parametrize("code", WITHOUT)
def test_a_process_loads_nothing_dear_that_it_does_not_run(code: str, loaded: dict[str, list[str]]) -> None:
    assert loaded[code] == []
