"""A product's picture, as the catalogue knows it: by what its bytes are, not by the bytes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from domain.kernel.refusals import InvalidValue

LARGEST_IMAGE: Final = 5 * 1024 * 1024
"""As it is sent."""
LARGEST_KEPT_IMAGE: Final = 4 * LARGEST_IMAGE
"""As it is kept: what has been packed with much patience takes more when it is written anew."""

IMAGE_ENDINGS: Final[Mapping[str, str]] = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
"""The media types that a picture may have, and how the names of their files end."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Image:
    """``digest`` is the SHA-256 of the bytes in hex, ``size`` their number."""

    digest: str
    content_type: str
    size: int

    @property
    def file(self) -> str:
        """The name that no other picture has: ``<digest>.png``."""
        return f"{self.digest}.{IMAGE_ENDINGS[self.content_type]}"


def checked_image(image: Image) -> Image:
    """The image itself. Raises :class:`~domain.kernel.refusals.InvalidValue`."""
    if not _DIGEST.fullmatch(image.digest):
        raise InvalidValue("must be a SHA-256 in hex", pointer="/digest")
    if image.content_type not in IMAGE_ENDINGS:
        raise InvalidValue("must be PNG, JPEG or WebP", pointer="/content_type")
    if not 0 < image.size <= LARGEST_KEPT_IMAGE:
        raise InvalidValue(f"must have from 1 to {LARGEST_KEPT_IMAGE} bytes", pointer="/size")
    return image
