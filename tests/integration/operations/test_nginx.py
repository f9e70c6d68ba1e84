"""deploy/nginx/: nginx takes it, its doors are those of the routes, and what it answers itself is a problem of ours."""

import json
import os
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any, Final

import pytest

from api.problem_kinds import STATUS
from tests.support.deployment import INSIDE, ROOT

NGINX: Final = which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
FOLDER: Final = ROOT / "deploy/nginx"
SHOP: Final = (FOLDER / "shop.conf").read_text()
OPENAPI: Final[dict[str, Any]] = json.loads((ROOT / "docs/openapi.json").read_text())
LOCATION: Final = re.compile(r"^    location ~ (\S+) \{\n(.*?)^    \}", re.MULTILINE | re.DOTALL)


def locations_of(path: str) -> list[str]:
    """What is said for a path: of the patterns that match, nginx takes the first."""
    return [said for pattern, said in LOCATION.findall(SHOP) if re.search(pattern, path)][:1]


def written(path: str) -> str:
    """A path of the OpenAPI document with an id where it has a parameter."""
    return re.sub(r"\{\w+\}", "01890a5d-ac96-774b-bcce-b302099a8057", path)


def paths_with(kind: str) -> list[str]:
    """The paths of routes whose answers or bodies are of such a kind."""
    return [
        written(path)
        for path, operations in OPENAPI["paths"].items()
        for operation in operations.values()
        for part in (operation.get("requestBody", {}), *operation.get("responses", {}).values())
        if any(re.match(kind, media) for media in part.get("content", {}))
    ]


def test_nginx_takes_it(tmp_path: Path) -> None:
    if NGINX is None:
        if "CI" not in os.environ:
            pytest.skip("there is no nginx (Debian: apt-get install nginx-light): deploy/nginx/ is not given to it")
        pytest.fail("there is no nginx")
    told = subprocess.run(
        [NGINX, "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(_installed(tmp_path))],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "warn" not in told.stderr


@pytest.mark.parametrize("path", INSIDE)
def test_what_is_inside_is_closed_with_all_below_it(path: str) -> None:
    for written_out in (path, f"{path}/", f"{path}/ready"):
        (said,) = locations_of(written_out)
        assert said.strip() == "return 404;"


def test_nothing_else_is_closed() -> None:
    closed = {path for path in OPENAPI["paths"] if any("return 404" in said for said in locations_of(written(path)))}
    assert {path for path in closed if not path.startswith(INSIDE)} == set()


@pytest.mark.parametrize("path", paths_with("text/event-stream"))
def test_events_are_passed_on_when_they_come(path: str) -> None:
    (said,) = locations_of(path)
    assert "proxy_buffering    off;" in said


@pytest.mark.parametrize("path", paths_with(r"image/|text/csv|application/x-ndjson"))
def test_uploads_are_passed_on_as_they_come(path: str) -> None:
    (said,) = locations_of(path)
    assert "proxy_request_buffering off;" in said


def test_a_room_is_reached_by_websocket_and_nothing_else_is_upgraded() -> None:
    channels: dict[str, Any] = json.loads((ROOT / "docs/asyncapi.json").read_text())["channels"]
    (said,) = locations_of(written(channels["room"]["address"]))
    assert "Upgrade           $http_upgrade;" in said
    assert SHOP.count("$http_upgrade;") == 1


def test_what_nginx_answers_by_itself_is_a_problem_with_a_code_and_status_of_ours() -> None:
    bodies = re.findall(r"return (\d+) '(.*)';", (FOLDER / "problems.conf").read_text())
    members = {*OPENAPI["components"]["schemas"]["Problem"]["required"]}
    codes = set()
    for status, body in bodies:
        for away in re.findall(r"\s([a-z-]+);", _map("away_code")) if "$away_code" in body else [""]:
            problem = json.loads(body.replace("$away_code", away))
            assert {*problem} == members
            assert (problem["type"], problem["status"]) == (f"/problems/{problem['code']}", int(status))
            assert STATUS[problem["code"]].status == int(status)
            codes.add(problem["code"])
    assert codes >= {"not-found", "too-many-requests", "content-too-large", "outcome-unknown", "unavailable"}


def _map(name: str) -> str:
    found = re.search(rf"^map \S+ \${name} {{\n(.*?)^}}", SHOP, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def _installed(folder: Path) -> Path:
    """The files as a container has them, below a folder; without what Debian's nginx is too old for."""
    (folder / "mime.types").write_text("types { text/html html; }")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-subj", "/CN=localhost", "-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*command, *files], capture_output=True, timeout=30, check=True)
    for file in ("nginx.conf", "shop.conf", "problems.conf", "templates/upstream.conf.template"):
        text = (FOLDER / file).read_text()
        text = text.replace("    http2  on;\n", "").replace("api:8000 resolve", "127.0.0.1:8000")
        text = text.replace("${NGINX_LOCAL_RESOLVERS}", "127.0.0.1").replace("${WEIR_PUBLIC_URL}", "https://localhost")
        text = re.sub(r"/(tmp|etc/nginx(/tls)?|dev)/(?=[a-z.]+)", f"{folder}/", text)
        (folder / Path(file).name.removesuffix(".template")).write_text(text)
    return folder / "nginx.conf"
