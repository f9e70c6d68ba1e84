"""The page that shows the API runs nothing that does not come from here."""

import gzip
import re

import pytest

from tests.support.sample_edge import SampleEdge, assert_problem, plain_edge

pytestmark = pytest.mark.anyio


@pytest.fixture
def sample() -> SampleEdge:
    return plain_edge()


async def test_the_page_loads_only_what_this_process_serves_and_its_policy_says_so(sample: SampleEdge) -> None:
    page = await sample.send("GET", "/docs")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
    assert len(loaded) == 4
    for path in loaded:
        asset = await sample.send("GET", f"/{path}")
        assert (asset.status, asset.headers["x-content-type-options"]) == (200, "nosniff")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert not re.search(
        r"https?:|unsafe-eval|script-src[^;]*unsafe-inline|<script>|\son\w+=", policy + page.body.decode()
    )


async def test_its_script_shows_our_document(sample: SampleEdge) -> None:
    start = await sample.send("GET", "/docs/start.js")
    assert start.headers["content-type"].startswith("text/javascript")
    assert b'"openapi.json"' in start.body
    assert (await sample.send("GET", "/openapi.json")).status == 200


async def test_the_page_is_dark_where_the_reader_has_it_so(sample: SampleEdge) -> None:
    start, style = [(await sample.send("GET", f"/docs/{name}")).body for name in ("start.js", "swagger-ui.css")]
    assert b"prefers-color-scheme: dark" in start
    for each in (start, style):
        assert b"dark-mode" in each


async def test_an_asset_is_sent_once_and_small(sample: SampleEdge) -> None:
    whole = await sample.send("GET", "/docs/swagger-ui-bundle.js")
    small = await sample.send("GET", "/docs/swagger-ui-bundle.js", headers={"accept-encoding": "gzip"})
    assert gzip.decompress(small.body) == whole.body
    assert len(small.body) < len(whole.body) / 3
    for reply in (whole, small):
        again = await sample.send("GET", "/docs/swagger-ui-bundle.js", headers={"if-none-match": reply.headers["etag"]})
        assert (again.status, again.headers["etag"]) == (304, reply.headers["etag"])
    assert whole.headers["etag"] != small.headers["etag"]


@pytest.mark.parametrize("name", ["__init__.py", "..", "%2e%2e", "swagger-ui.css.map", ""])
async def test_nothing_else_of_the_package_is_there(sample: SampleEdge, name: str) -> None:
    assert_problem(await sample.send("GET", f"/docs/{name}"), 404, "not-found")
