"""The guide: what `make docs` has built is shown as it is, in development, and nothing else."""

from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from api import problem_pages
from api.guide import MEDIA, guide
from api.main import create_app
from infra.settings import Settings
from tests.support.sample_edge import SampleEdge, assert_problem, sample_edge

pytestmark = pytest.mark.anyio

PAGE = '<!doctype html><script src="assets/a.js"></script>'


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "secret.html").write_text("secret")
    site = tmp_path / "site"
    for name in ("index.html", "decisions/index.html", "assets/a.js", "assets/a.css", "objects.inv"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(PAGE)
    return site


@pytest.fixture
def sample(built: Path) -> SampleEdge:
    return sample_edge(None, guide(built))


async def test_a_reader_is_led_to_the_front_page_and_from_there_to_all_others(sample: SampleEdge) -> None:
    led = await sample.send("GET", "/docs/guide")
    assert (led.status, led.headers["location"]) == (307, "/docs/guide/")
    for path in ("/docs/guide/", "/docs/guide/index.html", "/docs/guide/decisions/index.html"):
        page = await sample.send("GET", path)
        assert (page.status, page.body.decode()) == (200, PAGE)
        assert page.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", ["index.html", "assets/a.js", "assets/a.css"])
async def test_the_policy_lets_nothing_run_that_does_not_come_from_here(sample: SampleEdge, name: str) -> None:
    answer = await sample.send("GET", f"/docs/guide/{name}")
    assert answer.headers["content-type"].encode() == MEDIA[Path(name).suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "name",
    [
        "../secret.html",
        "..%2fsecret.html",
        "%2e%2e/secret.html",
        "assets/../index.html",
        "/etc/passwd",
        "//index.html",
        "index.html/",
        "decisions",
        "decisions/",
        "objects.inv",
        "INDEX.HTML",
    ],
)
async def test_nothing_else_is_reached(sample: SampleEdge, name: str) -> None:
    assert_problem(await sample.send("GET", f"/docs/guide/{name}"), 404, "not-found")


async def test_who_has_not_built_it_is_told_how(tmp_path: Path) -> None:
    sample = sample_edge(None, guide(tmp_path / "nothing"))
    page = await sample.send("GET", "/docs/guide/")
    assert page.status == 200
    assert b"<code>make docs</code>" in page.body
    assert_problem(await sample.send("GET", "/docs/guide/tutorial.html"), 404, "not-found")


async def test_the_front_page_tells_of_it_where_it_is_shown(built: Path) -> None:
    shown, not_shown = (sample_edge(None, problem_pages.routes, *more) for more in ([guide(built)], []))
    assert (await shown.send("GET", "/")).json["guide"] == "/docs/guide"
    assert "guide" not in (await not_shown.send("GET", "/")).json


@pytest.mark.parametrize(("environment", "shown"), [("development", True), ("production", False)])
def test_it_is_shown_in_development_alone(environment: str, shown: bool) -> None:
    app = create_app(Settings.model_validate({"environment": environment}))
    assert ("/docs/guide" in {context.path for context in iter_route_contexts(app.routes)}) is shown
