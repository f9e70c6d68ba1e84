"""What `type` in a problem document leads to: each code with what it means, when it comes and what to do about it.

The front page is here, too: it leads a browser to the documentation, and tells a program where to look.
"""

import re
from contextlib import suppress
from functools import cache
from html import escape
from typing import Annotated, Final

from fastapi import Path, Request
from pydantic import BaseModel
from starlette.routing import NoMatchFound

from api.http.accept import VARIES, prefers_html
from api.http.fast_route import router
from api.http.policies.security_headers import page_policy
from api.http.request_context import EXCHANGE, RequestState
from api.http.response import RawResponse, json_answer
from api.problem_kinds import STATUS
from api.queries.documents import PUBLIC
from api.rate_limits.policies import limited
from infra.errors import NotFound

STYLE: Final = (
    ":root{color-scheme:light dark;--ground:#fff;--ink:#1c2733;--code:#eef2f5;--link:#1f5fbf}"
    "@media(prefers-color-scheme:dark){:root{--ground:#14181c;--ink:#e8ecf0;--code:#2a323b;--link:#8ab8ff}}"
    "body{font:1rem/1.6 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;max-width:44rem;margin:3rem auto;"
    "padding:0 1rem;background:var(--ground);color:var(--ink);overflow-wrap:anywhere}"
    "h1{font-size:1.75rem;line-height:1.3}"
    "code{font-size:.95em;background:var(--code);padding:.1em .3em;border-radius:.2em}"
    "dt{font-weight:600;margin-top:1rem}dd{margin:0}ul{padding:0;list-style:none}li{margin:.6rem 0}a{color:var(--link)}"
    ":focus-visible{outline:3px solid var(--link);outline-offset:2px}"
)
POLICY: Final = page_policy(STYLE)
IN_DEVELOPMENT: Final = {"guide": "guide_front", "live": "live_page"}
"""Pages that are shown in development alone, and their routes."""
_CODE: Final = re.compile(r"`([^`]+)`")

Code = Annotated[str, Path(description="The `code` of a problem document.", json_schema_extra={"enum": sorted(STATUS)})]

routes = router(tags=["problems"])


class ProblemKind(BaseModel):
    """What a problem code means."""

    code: str
    """The code, as `code` of a problem document."""
    status: int
    """The status that it comes with."""
    title: str
    """The code in words."""
    meaning: str
    """What is said where there is nothing more exact to say."""
    when: str
    """When it comes."""
    remedy: str
    """What to do about it."""


class ProblemKinds(BaseModel):
    """All problem codes."""

    items: list[ProblemKind]
    """The codes, in the order in which a request can come upon them."""


@routes.get("/problems", response_model=ProblemKinds)
@limited("public")
async def list_problem_kinds(request: Request) -> RawResponse:
    """Every code that a refusal can have. A browser gets it as a page."""
    kinds = ProblemKinds(items=[kind_of(code) for code in STATUS])
    return _html(_list_page()) if _is_browser(request) else _json(kinds)


@routes.get("/problems/{code}", response_model=ProblemKind)
@limited("public")
async def read_problem_kind(request: Request, code: Code) -> RawResponse:
    """What a code means, when it comes, and what to do about it. A browser gets it as a page."""
    if code not in STATUS:
        raise NotFound
    return _html(_page(code)) if _is_browser(request) else _json(kind_of(code))


@routes.get("/", include_in_schema=False)
@limited("public")
async def front_page(request: Request) -> RawResponse:
    """Where to look: a browser is led to the documentation."""
    if _is_browser(request):
        return RawResponse(303, [(b"location", b"/docs"), VARIES, PUBLIC])
    index = {"title": "Weir", "docs": "/docs", "openapi": "/openapi.json", "problems": "/problems", "health": "/health"}
    for name, route in IN_DEVELOPMENT.items():
        with suppress(NoMatchFound):
            index[name] = str(request.app.url_path_for(route))
    return json_answer(index, headers=[VARIES, PUBLIC])


def kind_of(code: str) -> ProblemKind:
    """What the table says of a code."""
    kind = STATUS[code]
    return ProblemKind(
        code=code, status=kind.status, title=kind.title, meaning=kind.detail, when=kind.when, remedy=kind.remedy
    )


def _is_browser(request: Request) -> bool:
    exchange: RequestState = request.scope[EXCHANGE]
    return prefers_html(exchange.headers.get(b"accept", b""))


def _json(document: BaseModel) -> RawResponse:
    return json_answer(document.model_dump(), headers=[VARIES, PUBLIC])


def _html(page: bytes) -> RawResponse:
    media = (b"content-type", b"text/html; charset=utf-8")
    return RawResponse(200, [media, (b"content-security-policy", POLICY), VARIES, PUBLIC], page)


@cache
def _page(code: str) -> bytes:
    kind = kind_of(code)
    told = {"What it means": kind.meaning, "When it comes": kind.when, "What to do": kind.remedy}
    parts = "".join(f"<dt>{name}</dt><dd>{_text(text)}</dd>" for name, text in told.items())
    head = f"<h1>{_text(kind.title)}</h1><p><code>{kind.code}</code>, status {kind.status}</p>"
    return _around(kind.title, f'{head}<dl>{parts}</dl><p><a href="/problems">All codes</a></p>')


@cache
def _list_page() -> bytes:
    rows = "".join(map(_row, STATUS))
    return _around("Problem codes", f"<h1>Problem codes</h1><ul>{rows}</ul>")


def _row(code: str) -> str:
    return f'<li><a href="/problems/{code}"><code>{code}</code></a> {_text(STATUS[code].detail)}</li>'


def _text(text: str) -> str:
    """With what stands in backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _around(title: str, body: str) -> bytes:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · Weir</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    ).encode()
