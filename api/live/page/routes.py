"""The page at ``/live`` and the files that it loads. It asks the API as any other client does, with the same rights."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from anyio import to_thread

from api.guide import MEDIA
from api.http.fast_route import router
from api.http.policies.security_headers import SITE_POLICY
from api.http.response import RawResponse
from api.pages.page_library import TEMPLATES
from api.rate_limits.policies import limited
from infra.errors import NotFound

AT: Final = "/live"
POLICY: Final = SITE_POLICY + b"; require-trusted-types-for 'script'; trusted-types 'none'"
"""No text of anybody can become markup here: the browser itself refuses every script that tries."""

OWN: Final = Path(__file__).with_name("files")

routes = router(tags=["rooms"])


@routes.get(AT, include_in_schema=False)
@limited("public")
async def live_page() -> RawResponse:
    """Sign in, pick a room, talk, and watch orders move."""
    return await live_file("live.html")


@routes.get(AT + "/{name}", include_in_schema=False)
@limited("public")
async def live_file(name: str) -> RawResponse:
    """A file that the page loads."""
    file = files().get(name)
    if file is None:
        raise NotFound
    body = await to_thread.run_sync(file.read_bytes)
    return RawResponse(200, [(b"content-type", MEDIA[file.suffix]), (b"content-security-policy", POLICY)], body)


@cache
def files() -> Mapping[str, Path]:
    """Its own, and the looks that it shares with the pages that links in mails open."""
    return {file.name: file for file in (*OWN.iterdir(), TEMPLATES / "style.css")}
