"""The page at ``/live``: its files and no others, a policy that lets nothing else run, and none of it in production."""

import re

import pytest
from fastapi.routing import iter_route_contexts

from api import problem_pages
from api.guide import MEDIA
from api.live.page import routes as live_page
from api.main import create_app
from infra.settings import Settings
from tests.support.sample_edge import SampleEdge, assert_problem, sample_edge

pytestmark = pytest.mark.anyio

FILES = sorted(live_page.files())
SCRIPTS = [name for name in FILES if name.endswith(".js")]
MAKES_MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|srcdoc|\beval\b|Function\("
)


@pytest.fixture(scope="module")
def sample() -> SampleEdge:
    return sample_edge(None, live_page.routes)


def directives(policy: str) -> dict[str, str]:
    return dict(directive.split(" ", 1) for directive in policy.split("; "))


@pytest.mark.parametrize("path", ["/live", *(f"/live/{name}" for name in FILES)])
async def test_its_policy_lets_nothing_run_that_does_not_come_from_here(sample: SampleEdge, path: str) -> None:
    answer = await sample.send("GET", path)
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    said = directives(policy)
    assert (said["default-src"], said["script-src"], said["connect-src"]) == ("'none'", "'self'", "'self'")
    assert (said["require-trusted-types-for"], said["trusted-types"]) == ("'script'", "'none'")
    assert (said["frame-ancestors"], said["form-action"], said["base-uri"]) == ("'none'", "'none'", "'none'")


@pytest.mark.parametrize("name", FILES)
async def test_each_file_says_what_it_is(sample: SampleEdge, name: str) -> None:
    answer = await sample.send("GET", f"/live/{name}")
    assert answer.headers["content-type"].encode() == MEDIA[f".{name.rpartition('.')[2]}"]


async def test_the_page_has_no_script_and_no_style_within_it_and_loads_what_is_there(sample: SampleEdge) -> None:
    page = (await sample.send("GET", "/live")).body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", page)
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(loaded) == 4
    for path in loaded:
        assert (await sample.send("GET", path)).status == 200


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_script_makes_markup_of_text_and_each_loads_what_is_there(name: str) -> None:
    script = live_page.files()[name].read_text()
    assert not MAKES_MARKUP.search(script)
    assert set(re.findall(r'from "\./([^"]+)"', script)) <= set(SCRIPTS)
    assert "http:" not in script.replace('"https:"', "")


@pytest.mark.parametrize(
    "name", ["routes.py", "../routes.py", "..%2froutes.py", "%2e%2e/routes.py", "LIVE.JS", "", "form.html"]
)
async def test_nothing_else_is_reached(sample: SampleEdge, name: str) -> None:
    assert_problem(await sample.send("GET", f"/live/{name}"), 404, "not-found")


async def test_the_front_page_tells_of_it_where_it_is_shown(sample: SampleEdge) -> None:
    shown, not_shown = (sample_edge(None, problem_pages.routes, *more) for more in ([live_page.routes], []))
    assert (await shown.send("GET", "/")).json["live"] == "/live"
    assert "live" not in (await not_shown.send("GET", "/")).json


@pytest.mark.parametrize(("environment", "shown"), [("development", True), ("production", False)])
def test_it_is_shown_in_development_alone(environment: str, shown: bool) -> None:
    app = create_app(Settings.model_validate({"environment": environment}))
    paths = {context.path for context in iter_route_contexts(app.routes)}
    assert ({"/live", "/live/{name}"} <= paths, "/live" in paths) == (shown, shown)
