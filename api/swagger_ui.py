"""Swagger UI, from this very process: a page on the API's own origin runs no script that comes from anywhere else.

The page of FastAPI's ``get_swagger_ui_html`` starts it by a script within the page, which the policy forbids.
"""

import gzip
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import Final, NamedTuple

from anyio import to_thread
from fastapi import Request

from api.http.compression import wants_gzip, with_mark
from api.http.fast_route import router
from api.http.policies.entity_tags import matches
from api.http.request_context import EXCHANGE, RequestState
from api.http.response import Headers, RawResponse
from api.queries.documents import PUBLIC
from api.rate_limits.policies import limited
from infra.errors import NotFound

PACKAGE: Final = "fastapi_swagger"
"""Whose wheel carries the files of the npm package ``swagger-ui-dist``. Its code is not used."""

START: Final = b"""\
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
PAGE: Final = b"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Weir</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MEDIA: Final = {
    "favicon-32x32.png": b"image/png",
    "start.js": b"text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "swagger-ui.css": b"text/css; charset=utf-8",
}

routes = router(tags=["operations"])


class Asset(NamedTuple):
    """A file in full, compressed, and for who has it."""

    etag: bytes
    plain: RawResponse
    small: RawResponse
    unchanged: RawResponse


@routes.get("/docs", include_in_schema=False)
@limited("public")
async def swagger_page(_request: Request) -> RawResponse:
    """The OpenAPI document to look at and try."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", POLICY), PUBLIC]
    return RawResponse(200, headers, PAGE)


@routes.get("/docs/{asset}", include_in_schema=False)
@limited("public")
async def swagger_asset(request: Request, asset: str) -> RawResponse:
    """A file that the page loads."""
    if asset not in MEDIA:
        raise NotFound
    found = await to_thread.run_sync(_asset, asset)
    exchange: RequestState = request.scope[EXCHANGE]
    if_none_match = exchange.headers.get(b"if-none-match")
    if if_none_match is not None and matches(if_none_match, found.etag):
        return found.unchanged
    return found.small if wants_gzip(exchange.headers) else found.plain


@cache
def _asset(name: str) -> Asset:
    body = START if name == "start.js" else (files(PACKAGE) / "resources" / name).read_bytes()
    etag = b'"%b"' % blake2b(body, digest_size=8).hexdigest().encode("ascii")
    headers: Headers = [(b"etag", etag), PUBLIC]
    whole: Headers = [(b"content-type", MEDIA[name]), *headers]
    small = RawResponse(200, [*with_mark(whole), (b"content-encoding", b"gzip")], gzip.compress(body, mtime=0))
    return Asset(etag, RawResponse(200, whole, body), small, RawResponse(304, headers))
