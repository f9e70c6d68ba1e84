"""The pages of docs/ as `make docs` has built them, for whoever works on Weir: shown in development alone.

What is asked for is looked up among the files that are there, and no path is made of it: nothing else can be reached.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from anyio import to_thread
from fastapi import APIRouter

from api.http.fast_route import router
from api.http.policies.security_headers import SITE_POLICY
from api.http.response import RawResponse
from api.rate_limits.policies import limited
from infra.errors import NotFound

BUILT: Final = Path(__file__).parents[1] / "build" / "docs"
AT: Final = "/docs/guide"
FRONT: Final = "index.html"
MEDIA: Final[Mapping[str, bytes]] = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
}
"""Of the files that are shown; no others are."""
UNBUILT: Final = b"""\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Weir</title></head>
<body><p>The guide is not built yet: run <code>make docs</code> in the checkout, and reload this page.</p></body></html>
"""


def guide(built: Path = BUILT) -> APIRouter:
    """The routes that show the site in that folder."""
    routes = router(tags=["operations"])

    @routes.get(AT, include_in_schema=False)
    @limited("public")
    async def guide_front() -> RawResponse:
        """Links in pages are relative to the folder that they are in."""
        return RawResponse(307, [(b"location", f"{AT}/".encode())])

    @routes.get(AT + "/{page:path}", include_in_schema=False)
    @limited("public")
    async def guide_page(page: str) -> RawResponse:
        """A page, or what it loads."""
        return await to_thread.run_sync(_answer, built, page or FRONT)

    return routes


def _answer(built: Path, page: str) -> RawResponse:
    files = {file.relative_to(built).as_posix(): file for file in built.rglob("*") if file.suffix in MEDIA}
    if page in files:
        return _shown(files[page].read_bytes(), MEDIA[files[page].suffix])
    if page == FRONT:
        return _shown(UNBUILT, MEDIA[".html"])
    raise NotFound


def _shown(body: bytes, media: bytes) -> RawResponse:
    return RawResponse(200, [(b"content-type", media), (b"content-security-policy", SITE_POLICY)], body)
