"""What a refusal's `type` leads to, and where the front page leads to."""

import re
from html import unescape

import httpx2
import pytest

from api import problem_pages
from api.http.accept import prefers_html
from api.problem_kinds import STATUS
from tests.support.sample_edge import Reply, SampleEdge, assert_problem, sample_edge, with_state
from tests.support.sample_routes import ORDER_ID

pytestmark = pytest.mark.anyio

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture(scope="module")
def sample() -> SampleEdge:
    return sample_edge(None, problem_pages.routes)


async def _page(sample: SampleEdge, path: str) -> Reply:
    page = await sample.send("GET", path, headers={"accept": CHROME})
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return page


@pytest.mark.parametrize("code", STATUS)
async def test_every_code_says_what_it_means_when_it_comes_and_what_to_do(sample: SampleEdge, code: str) -> None:
    kind, told = STATUS[code], (await sample.send("GET", f"/problems/{code}")).json
    assert (told["code"], told["status"], told["title"]) == (code, kind.status, kind.title)
    page = unescape(re.sub("</?code>", "", (await _page(sample, f"/problems/{code}")).body.decode()))
    for said in ("meaning", "when", "remedy"):
        assert told[said].replace("`", "") in page
    assert "`" not in page


async def test_the_type_of_a_refusal_leads_to_its_explanation(sample: SampleEdge) -> None:
    refused = await sample.send("GET", f"/v1/orders/{ORDER_ID}/nothing")
    assert_problem(refused, 404, "not-found")
    assert (await sample.send("GET", refused.json["type"])).json["code"] == "not-found"


async def test_all_codes_are_listed(sample: SampleEdge) -> None:
    listed = (await sample.send("GET", "/problems")).json["items"]
    assert [each["code"] for each in listed] == list(STATUS)
    page = await _page(sample, "/problems")
    assert re.findall(r'href="/problems/([^"]+)"', page.body.decode()) == list(STATUS)


@pytest.mark.parametrize("code", ["nothing", "OUT-OF-STOCK", "%3Cscript%3E", ".."])
async def test_there_is_no_page_of_a_code_that_there_is_not(sample: SampleEdge, code: str) -> None:
    reply = await sample.send("GET", f"/problems/{code}", headers={"accept": CHROME})
    assert_problem(reply, 404, "not-found")


@pytest.mark.parametrize("path", ["/problems", "/problems/out-of-stock"])
async def test_a_page_runs_nothing_and_loads_nothing(sample: SampleEdge, path: str) -> None:
    page = await _page(sample, path)
    policy, text = page.headers["content-security-policy"], page.body.decode()
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"<script|<img|<link|\son\w+=|style=|src=", text)


async def test_each_form_is_kept_apart_from_the_other(sample: SampleEdge) -> None:
    transport = httpx2.ASGITransport(app=with_state(sample))
    async with httpx2.AsyncClient(transport=transport, base_url="http://weir.test") as client:
        for accept in (CHROME, "application/json"):
            for path in ("/", "/problems", "/problems/invalid"):
                reply = await client.get(path, headers={"accept": accept})
                assert "accept" in reply.headers["vary"].split(", ")


async def test_the_front_page_leads_a_browser_to_the_documentation(sample: SampleEdge) -> None:
    reply = await sample.send("GET", "/", headers={"accept": CHROME})
    assert (reply.status, reply.headers["location"]) == (303, "/docs")
    assert (await sample.send("GET", reply.headers["location"])).status == 200


async def test_the_front_page_tells_a_program_where_to_look(sample: SampleEdge) -> None:
    index = (await sample.send("GET", "/")).json
    for name in ("docs", "openapi", "problems"):
        assert (await sample.send("GET", index[name])).status == 200


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/problem+json, text/html;q=0.5", True),
        ("text/html", True),
        ("TEXT/HTML; charset=utf-8", True),
        (CHROME, True),
        ("text/*", True),
        ("text/html;q=0", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("text/html;q=0.5, */*", False),
        ("text/html;q=2, ;;q=,, /", True),
        ("text/html," * 100, False),
    ],
)
def test_who_wants_a_page_gets_one(accept: str, page: bool) -> None:
    assert prefers_html(accept.encode()) is page
