"""Showing what a product looks like."""

from typing import Annotated, Any, Final
from uuid import UUID

import orjson
from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from api.dependencies import Context, ImageFilesDep
from api.http.fast_route import router
from api.http.policies.entity_tags import matches
from api.queries.dependencies import ProductsDep
from api.queries.documents import PUBLIC, if_none_match
from api.rate_limits.policies import limited
from domain.catalogue import IMAGE_ENDINGS
from infra.errors import NotFound
from infra.storage import Blob
from projections.product_card import image_file

routes = router(tags=["catalogue"])

FOR_EVER: Final = "public, max-age=31536000, immutable"
ASKED_AGAIN: Final = PUBLIC[1].decode("ascii")

_HEADERS: Final = {
    "content-disposition": "inline",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    # A shop's pages may show it from wherever they are served.
    "cross-origin-resource-policy": "cross-origin",
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The picture.",
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in IMAGE_ENDINGS},
    }
}
_FILE: Final = rf"^[0-9a-f]{{64}}\.({'|'.join(IMAGE_ENDINGS.values())})$"


@routes.get("/v1/products/{product_id}/image", response_model=None, response_class=Response, responses=_ANSWERS)
@limited("browse")
async def read_product_image(
    request: Request,
    context: Context,
    product_id: UUID,
    products: ProductsDep,
    files: ImageFilesDep,
    v: Annotated[
        str | None,
        Query(
            pattern=_FILE,
            description="This very picture, as `image_url` names it; else that of now.",
        ),
    ] = None,
) -> Response:
    """The picture of a product. One that is asked for by its name may be kept for ever.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    shown = _shown((await products.find(product_id, context)).answer.body)
    file = v or shown
    if file is None:
        raise NotFound
    etag = f'"{file.partition(".")[0]}"'
    headers = {**_HEADERS, "etag": etag, "cache-control": FOR_EVER if v else ASKED_AGAIN}
    asked = if_none_match(request)
    known = asked is not None and matches(asked, etag.encode("ascii"))
    # Of the one that is shown it is known that it is there.
    blob = None if known and file == shown else await files.open(product_id, file)
    if known and (blob is not None or file == shown):
        return Response(status_code=304, headers=headers)
    if blob is None:
        raise NotFound
    return _answer(request, blob, headers)


def _answer(request: Request, blob: Blob, headers: dict[str, str]) -> Response:
    """The content type is the one that the bytes were found to be."""
    told = {**headers, "content-type": blob.content_type, "content-length": str(blob.size)}
    if request.method == "HEAD":
        return Response(headers=told)
    return StreamingResponse(blob.chunks, headers=told)


def _shown(document: bytes) -> str | None:
    """The file that the product document leads to."""
    url = orjson.loads(document)["image_url"]
    return None if url is None else image_file(url)
