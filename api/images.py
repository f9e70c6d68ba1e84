"""Product pictures, decoded and written anew by Pillow: what is kept and shown are pixels, in bytes of ours.

What is no still PNG, JPEG or WebP within the bounds is refused by its header, before anything is decoded. Of the rest
only the pixels go on, turned as the camera was held and in sRGB: no EXIF, no place, no colour profile, no comment, and
nothing that lies between or behind. The same bytes are written the same way each time.
"""

import asyncio
import re
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from typing import Any, Final, NamedTuple

from PIL import Image, ImageCms, ImageOps
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.WebPImagePlugin import WebPImageFile

from api.errors import Problem
from api.http.body_reader import not_taken
from infra.errors import TooBusy

LONGEST_SIDE: Final = 10_000
MOST_PIXELS: Final = 40_000_000
MOST_READS: Final = 60_000
"""Of a file's parts. Encoders make some hundreds of parts; to walk through a million small ones takes seconds."""
MOST_SCANS: Final = 100
"""A progressive JPEG has about ten. Each costs a pass over all pixels, and takes a few bytes."""
SECONDS: Final = 30.0
"""For one's turn and the work: the largest pictures take about five on a core of their own."""

_BEGINNINGS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_PNG_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_SCAN: Final = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_OTHER_KINDS: Final = re.compile(
    rb"<(?=[!?BHISbhis])(?i:(?:script|html|body|iframe|!doctype|\?php)[\s>/]|svg(?:>\s*<|[\s/]+[\w:]+\s*=))"
    rb"|%PDF-[0-9]|PK\x03\x04[\x00-\x3f]\x00|PK\x05\x06\x00\x00"
)
"""How pages, programs, PDFs and archives begin: at such length that no coded pixels have it by chance."""


class Picture(NamedTuple):
    """A picture as it is kept, and its media type."""

    content_type: str
    content: bytes


class _Unsound(Exception):
    """The bytes are not one whole picture within the bounds. Says why, without repeating any of them."""


class _Parts(BytesIO):
    """The bytes as Pillow reads them: a header, a length, a part at a time."""

    left = MOST_READS

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise _Unsound("is in too many parts")
        return super().read(size)


class ImageRewriter:
    """One thread that decodes and writes pictures anew, one at a time: that bounds the memory, to 40 megapixels.

    Who gives up waiting, or hangs up, leaves the thread busy until its work is done: the next one waits for it.
    """

    def __init__(self, work: Callable[[bytes], Picture] | None = None, *, seconds: float = SECONDS) -> None:
        self._work = work or picture_of
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, "pictures")
        # Started now: later there may be none to be had, and a pool keeps for it what it told to have failed.
        self._thread.submit(int)
        # Pillow warns of careless EXIF, as many cameras write it, and of sizes, which are checked here.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    async def rewrite(self, sent: bytes) -> Picture:
        """As :func:`picture_of`. Raises :class:`~infra.errors.TooBusy` when that takes too long."""
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, sent)
        except TimeoutError:
            raise TooBusy("too many pictures at once") from None

    def close(self) -> None:
        """Takes no more. What is being worked on ends by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def picture_of(sent: bytes) -> Picture:
    """The picture that was sent, written anew; for a thread, as it may take seconds.

    Raises :class:`~api.errors.Problem`: ``unsupported-media-type`` for what does not begin like a picture,
    ``invalid-image`` for what does not go on like one; :class:`~infra.errors.TooBusy` without memory for it.
    """
    kind = next((kind for kind, beginning in _BEGINNINGS.items() if beginning.match(sent)), None)
    if kind is None:
        raise not_taken(map(_media_of, _BEGINNINGS), "The body is neither PNG nor JPEG nor WebP.")
    try:
        with Image.open(_Parts(sent), formats=(kind,)) as image:
            _check_header(image, kind)
            image.verify()
            _check_bytes(sent, kind)
        with Image.open(_Parts(sent), formats=(kind,)) as image:
            content = _written(image, kind, _options(image, sent))
    except MemoryError:
        raise TooBusy("no memory for a picture") from None
    except _Unsound as unsound:
        raise _invalid(str(unsound)) from None
    except Image.DecompressionBombError:
        raise _invalid(f"must have at most {MOST_PIXELS} pixels") from None
    except Exception:
        # Decoders that are fed by strangers raise whatever they come upon.
        raise _invalid("is damaged, or ends before its end") from None
    return Picture(_media_of(kind), content)


def _check_header(image: Image.Image, kind: str) -> None:
    width, height = image.size
    if not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
        raise _Unsound(f"must have from 1 to {LONGEST_SIDE} pixels on a side")
    if width * height > MOST_PIXELS:
        raise _Unsound(f"must have at most {MOST_PIXELS} pixels")
    # The further pictures that phones put behind a JPEG are no animation.
    if kind != "JPEG" and getattr(image, "is_animated", False):
        raise _Unsound("must be one still picture")


def _check_bytes(sent: bytes, kind: str) -> None:
    """What no decoder looks at. Nobody sends a page or an archive with a picture by chance."""
    riff_bytes = int.from_bytes(sent[4:8], "little") + 8
    if (kind == "PNG" and not sent.endswith(_PNG_END)) or (kind == "WEBP" and riff_bytes < len(sent)):
        raise _Unsound("has something behind its end")
    if kind == "JPEG" and len(_SCAN.findall(sent)) > MOST_SCANS:
        raise _Unsound("has too many scans")
    if _OTHER_KINDS.search(sent):
        raise _Unsound("carries another kind of document beside its pixels")


def _options(image: Image.Image, sent: bytes) -> dict[str, Any]:
    """How to write it about as well as it came."""
    if isinstance(image, JpegImageFile):
        # Neither optimized nor progressive: Pillow writes both in one go, and holds up the event loop meanwhile.
        return {"qtables": list(image.quantization.values()), "subsampling": get_sampling(image)}
    if isinstance(image, WebPImageFile):
        # The quickest, so that the largest takes seconds; but method 0 packs no transparency: a byte for each pixel.
        return {"lossless": True, "quality": 0, "method": 0} if b"VP8L" in sent else {"quality": 85, "method": 1}
    return {}


def _written(image: Image.Image, kind: str, options: Mapping[str, Any]) -> bytes:
    image.load()
    with suppress(Exception):  # what cannot be read turns nothing
        ImageOps.exif_transpose(image, in_place=True)
    image = _in_srgb(image)
    # Encoders write what they find here, unless they are told otherwise.
    image.info = {key: value for key, value in image.info.items() if key == "transparency"}
    content = BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def _in_srgb(image: Image.Image) -> Image.Image:
    """Colours as screens take them when no profile says otherwise. A profile that cannot be read says nothing."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        with suppress(ImageCms.PyCMSError):
            mode = image.mode if image.mode == "RGBA" else "RGB"
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, BytesIO(profile), srgb, outputMode=mode) or image
    return image.convert("RGB") if image.mode == "CMYK" else image


def _media_of(kind: str) -> str:
    return f"image/{kind.lower()}"


def _invalid(detail: str) -> Problem:
    return Problem("invalid-image", errors=[{"pointer": "", "code": "invalid-image", "detail": detail}])
