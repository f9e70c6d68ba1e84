"""Showing a product by a picture."""

import asyncio
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request

from api.commands.authority import acting
from api.commands.dependencies import RewriterDep, UploadSlotsDep
from api.commands.dispatcher import CommandDispatcher
from api.dependencies import ImageFilesDep
from api.http.body_reader import accepts
from api.http.fast_route import router
from api.http.request_context import stands_for
from api.http.response import Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from domain.catalogue import IMAGE_ENDINGS, LARGEST_IMAGE, PRODUCTS, ChangeImage, Image

routes = router(tags=["catalogue"])

Catalogue = Annotated[CommandDispatcher, Depends(acting("catalogue:write"))]

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "One still PNG, JPEG or WebP of at most 5 MiB, 40 megapixels and 10,000 pixels on a side. "
        "What it is, its bytes say.",
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in IMAGE_ENDINGS},
    }
}


@routes.put("/v1/products/{product_id}/image", openapi_extra=_BODY)
@accepts("image/*", limit=LARGEST_IMAGE, stream=True)
@limited("upload")
@refuses("not-for-sale", "invalid-image")
async def change_product_image(
    request: Request,
    product_id: UUID,
    commands: Catalogue,
    desk: UploadSlotsDep,
    rewriter: RewriterDep,
    files: ImageFilesDep,
) -> Receipt:
    """Show the product by this picture from now on."""
    product = await commands.handler.read_cached(PRODUCTS, product_id)
    async with desk.body(request) as sent:
        # A key stands for what was sent: what is made of that may differ from one release of the encoders to another.
        stands_for(request.scope, (await asyncio.to_thread(sha256, sent)).digest())
        content_type, content = await rewriter.rewrite(sent)
        digest = (await asyncio.to_thread(sha256, content)).hexdigest()
        image = Image(content_type=content_type, digest=digest, size=len(content))
        # The bytes come first, so that no event leads to nothing. For a discontinued product nothing can come of them.
        if product is not None and not product.discontinued:
            await files.keep(product_id, image, content)
    return await commands.handle((PRODUCTS, product_id), ChangeImage(image=image))
