"""Showing a product by a picture."""

import asyncio
from hashlib import sha256
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request

from api.commands.authority import acting
from api.commands.dispatcher import CommandDispatcher
from api.dependencies import opened
from api.http.body_reader import accepts
from api.http.fast_route import router
from api.http.request_context import stands_for
from api.http.response import Receipt
from api.http.upload_slots import Uploads
from api.image_validation import picture_of
from domain.catalogue import IMAGE_ENDINGS, LARGEST_IMAGE, PRODUCTS, ChangeImage, Image
from infra.storage.product_images import ImageFiles

routes = router(tags=["catalogue"])

Catalogue = Annotated[CommandDispatcher, Depends(acting("catalogue:write"))]
Desk = Annotated[Uploads, Depends(opened(Uploads))]
Files = Annotated[ImageFiles, Depends(opened(ImageFiles))]

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
async def change_image(request: Request, product_id: UUID, commands: Catalogue, desk: Desk, files: Files) -> Receipt:
    """Show the product by this picture from now on."""
    product = await commands.handler.peek(PRODUCTS, product_id)
    async with desk.body(request) as content:
        image, content = await asyncio.to_thread(_image, content)
        stands_for(request.scope, bytes.fromhex(image.digest))
        # The bytes come first, so that no event leads to nothing. For a discontinued product nothing can come of them.
        if product is not None and not product.discontinued:
            await files.keep(product_id, image, content)
    return await commands.handle((PRODUCTS, product_id), ChangeImage(image=image))


def _image(sent: bytes) -> tuple[Image, bytes]:
    """The picture that was sent, and its bytes. Raises :class:`~api.errors.Problem` if it is no sound one."""
    content_type, content = picture_of(sent)
    return Image(content_type=content_type, digest=sha256(content).hexdigest(), size=len(content)), content
