"""deploy/nginx/: nginx takes it, its doors are those of the routes, and what it answers itself is a problem of ours."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import which
from typing import Any, Final

import httpx2
import pytest

from api.problem_kinds import STATUS
from tests.support.deployment import INSIDE, ROOT
from tests.support.serving import free_port
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

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


def nginx() -> str:
    """Its path; without it the test is skipped here, and fails in CI."""
    if NGINX is None:
        if "CI" not in os.environ:
            pytest.skip("there is no nginx (Debian: apt-get install nginx-light): deploy/nginx/ is not given to it")
        pytest.fail("there is no nginx")
    return NGINX


def test_nginx_takes_it(tmp_path: Path) -> None:
    told = subprocess.run(
        [nginx(), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(_installed(tmp_path))],
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


LOST: Final[dict[str, tuple[str, dict[str, str], int, list[int]]]] = {
    "a write under its key": ("/v1/orders", {"Idempotency-Key": "k"}, 1, [201, 2]),
    "a write under its key, twice": ("/v1/orders", {"Idempotency-Key": "k"}, 2, [503, 2]),
    "a write without one": ("/v1/orders", {}, 1, [503, 1]),
    "an upload, of which nginx has nothing left": ("/v1/products/import", {"Idempotency-Key": "k"}, 1, [503, 1]),
}


@pytest.mark.parametrize("kind", LOST)
async def test_what_is_sent_once_more_where_an_answer_was_lost(tmp_path: Path, kind: str) -> None:
    """Upstream hangs up on the first so many requests, having read them; it counts all, and wants the whole body."""
    path, headers, lost, expected = LOST[kind]
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            bodies.append(await reader.readexactly(int(size[1]) if size else 0))
            if len(bodies) > lost:
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    upstream = await asyncio.start_server(answer, "127.0.0.1", 0)
    client = httpx2.AsyncClient(verify=False, timeout=20)  # the certificate is its own
    async with upstream, _before(tmp_path, upstream.sockets[0].getsockname()[1]) as url, client:
        told = await client.post(f"{url}{path}", content=b'{"a": 1}', headers=headers)
    assert [told.status_code, len(bodies)] == expected
    assert {*bodies} == {b'{"a": 1}'}
    if told.status_code == 503:
        assert (told.json()["status"], told.json()["code"]) == (503, "outcome-unknown")


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


@asynccontextmanager
async def _before(folder: Path, upstream: int) -> AsyncIterator[str]:
    """nginx before an upstream on this machine; its URL."""
    port, conf = _moved(folder, upstream)
    command = [nginx(), "-e", "stderr", "-p", str(folder), "-c", str(conf), "-g", "daemon off;"]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        await eventually(lambda: _listens(port))
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def _moved(folder: Path, upstream: int) -> tuple[int, Path]:
    """The files, with ports that are free; the port of the shop, and the file that has all others."""
    conf, ports = _installed(folder), {each: free_port() for each in ("8443", "8080", "8081")}
    for file in folder.glob("*.conf"):
        text = file.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")
        for port, free in ports.items():
            text = re.sub(rf"(listen +(?:127\.0\.0\.1:)?){port}\b", rf"\g<1>{free}", text)
        file.write_text(text)
    return ports["8443"], conf


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True


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
