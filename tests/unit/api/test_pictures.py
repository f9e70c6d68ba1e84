"""What counts as a picture, told by its bytes alone, and what is kept of it: its pixels, in bytes of ours."""

import asyncio
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms

from api.errors import Problem
from api.images import LONGEST_SIDE, MOST_PIXELS, ImageRewriter, Picture, picture_of
from infra.concurrency.gc_tuning import gc_paused
from infra.errors import TooBusy
from tests.support.pictures import (
    END,
    KINDS,
    PNG_SIGNATURE,
    SCAN,
    chunk,
    extended,
    frame,
    header,
    jpeg,
    lossless,
    lossy,
    opened,
    part,
    png,
    riff,
    saved,
    segment,
    shades,
    webp,
)

IDAT = chunk(b"IDAT", b"x")
HTML = b"<html><script>alert(1)</script>"
CARRIES = "carries another kind of document beside its pixels"
ZIP = b"PK\x03\x04\x14\x00 and so on"
PDF = b"%PDF-1.7"
MEDIA = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@pytest.fixture(autouse=True)
def rewriter() -> Iterator[ImageRewriter]:
    """As in a process that serves: a warning of the decoder's is nobody's business there."""
    rewriter = ImageRewriter()
    yield rewriter
    rewriter.close()


def alike(one: Image.Image, other: Image.Image, *, most: int = 0) -> bool:
    """Whether two pictures have one size, and no pixel differs by more than this."""
    difference = ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))
    return one.size == other.size and max(difference.tobytes()) <= most


def noted(kind: str, image: Image.Image, **more: object) -> bytes:
    """The picture with all that a camera writes beside it: where it was, by whose hand, how it is to be turned."""
    exif = Image.Exif()
    exif[0x010F] = "a camera of mine"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif[0x0112] = more.pop("orientation", 1)
    return saved(image, kind, exif=exif, xmp=b"<x:xmpmeta>of mine</x:xmpmeta>", **more)


def verdict(content: bytes) -> str:
    try:
        return picture_of(content).content_type
    except Problem as problem:
        return problem.code


def refused(content: bytes) -> tuple[str, str]:
    with pytest.raises(Problem) as problem:
        picture_of(content)
    errors = problem.value.errors
    return problem.value.code, errors[0]["detail"] if errors else ""


@pytest.mark.parametrize("media", KINDS)
def test_a_sound_picture_is_written_anew_as_what_it_is(media: str) -> None:
    sent = KINDS[media](64, 48)
    picture = picture_of(sent)
    assert picture.content_type == media
    assert opened(picture.content).format == MEDIA[media]
    assert alike(opened(picture.content), opened(sent), most=8 if media == "image/jpeg" else 0)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *[("PNG", mode) for mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")],
        *[("JPEG", mode) for mode in ("L", "RGB", "CMYK")],
        *[("WEBP", mode) for mode in ("RGB", "RGBA")],
    ],
)
def test_a_picture_of_any_depth_keeps_its_pixels(kind: str, mode: str) -> None:
    image = shades(64, 48).convert("L" if mode == "I;16" else "RGB").convert(mode)
    sent = saved(image, kind, **({"lossless": True} if kind == "WEBP" else {}))
    kept = opened(picture_of(sent).content)
    assert alike(kept, opened(sent), most=8 if kind == "JPEG" else 0)
    assert kept.mode == ("RGB" if mode == "CMYK" else opened(sent).mode)


def test_what_is_seen_through_stays_so() -> None:
    image = shades(20, 10).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((20, 10)))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("WEBP", {"lossless": False})):
        kept = opened(picture_of(saved(image, kind, **options)).content)
        assert alike(kept.getchannel("A"), image.getchannel("A"))
    palette = saved(shades(20, 10).quantize(4), "PNG", transparency=0)
    assert alike(opened(picture_of(palette).content), opened(palette))


@pytest.mark.parametrize("lossless", [True, False])
def test_what_is_seen_through_is_packed(lossless: bool) -> None:
    image = shades(400, 300).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((400, 300)))
    assert len(picture_of(saved(image, "WEBP", lossless=lossless)).content) < 400 * 300 / 4


@pytest.mark.parametrize("media", KINDS)
def test_the_same_bytes_are_written_the_same_way(media: str) -> None:
    sent = noted(MEDIA[media], shades(64, 48))
    assert picture_of(sent) == picture_of(sent)


@pytest.mark.parametrize("media", KINDS)
def test_nothing_but_pixels_is_kept(media: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sent = noted(MEDIA[media], shades(20, 10), icc_profile=profile, comment=b"of mine", dpi=(300, 300))
    beside = {
        "image/png": sent[:33] + chunk(b"tEXt", b"Author\x00of mine") + chunk(b"prVt", b"of mine") + sent[33:],
        "image/jpeg": sent[:2] + segment(0xEB, b"of mine") + sent[2:] + b"of mine",
        "image/webp": riff(sent[12:], part(b"mine", b"of mine")),
    }
    kept = picture_of(beside[media]).content
    assert b"of mine" in beside[media]
    assert b"of mine" not in kept
    assert opened(kept).getexif() == {}
    assert {"exif", "xmp", "icc_profile", "comment", "dpi", "Author"}.isdisjoint(opened(kept).info)
    kinds = [b"eXIf", b"iTXt", b"tEXt", b"zTXt", b"iCCP", b"prVt", b"pHYs", b"EXIF", b"XMP ", b"ICCP", b"VP8X", b"mine"]
    assert not [each for each in (*kinds, b"Exif", b"ICC_PROFILE", b"\xff\xfe") if each in kept]


@pytest.mark.parametrize("media", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_the_camera_was_held(media: str, orientation: int) -> None:
    """The transpositions of Exif 2.32, 4.6.5.1: how rows and columns were stored."""
    seen = shades(20, 10)
    stored = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_TOP_BOTTOM],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT],
        8: [Image.Transpose.ROTATE_270],
    }.get(orientation, [])
    image = seen
    for turn in stored:
        image = image.transpose(turn)
    options = {"lossless": True} if media == "image/webp" else {"quality": 100, "subsampling": 0}
    sent = noted(MEDIA[media], image, orientation=orientation, **options)
    assert alike(opened(picture_of(sent).content), seen, most=8 if media == "image/jpeg" else 0)


@pytest.mark.parametrize("media", KINDS)
def test_colours_are_what_the_profile_says(media: str) -> None:
    """Its red is what screens call blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)
    red, blue = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    options = {"lossless": True} if media == "image/webp" else {}
    for told, shown in ((swapped, blue), (profile, red), (b"no profile", red)):
        sent = saved(red, MEDIA[media], icc_profile=told, **options)
        assert alike(opened(picture_of(sent).content), shown, most=4)


@pytest.mark.parametrize(
    "content",
    [
        png(1, 1, chunk(b"tEXt", b"Comment\x00fine")),
        png(1, 1, chunk(b"acTL", bytes(8))),
        PNG_SIGNATURE + header(colour=3) + chunk(b"PLTE", b"rgb") + chunk(b"IDAT", zlib.compress(bytes(2))) + END,
        jpeg(8, 8, segment(0xE1, b"Exif\x00\x00"), segment(0xFE, b"by hand"), b"\xff\xff"),
        jpeg(8, 8, segment(0xE1, b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\x0f\x01\x02\x00" * 9)),
        jpeg(8, 8, progressive=True),
        jpeg(9, 7, quality=30, subsampling="4:2:2"),
        saved(shades(8, 8).convert("CMYK"), "JPEG"),
        webp(3, 2, part(b"EXIF", b"odd")),
        webp(30, 20, lossless=False),
        webp(30, 20, part(b"XMP ", b"<x:xmpmeta/>"), lossless=False),
    ],
)
def test_what_encoders_add_is_no_harm(content: bytes) -> None:
    assert opened(picture_of(content).content).size == opened(content).size


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        HTML,
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<svg onload='alert(1)'/>",
        b"GIF89a" + bytes(20),
        b"BM" + bytes(60),
        PDF,
        ZIP,
        b"\x89PNG",
        b"\x00" + png(),
        b"\n" + jpeg(),
        HTML + png(),
        b"RIFF\x04\x00\x00\x00WAVE",
        PNG_SIGNATURE.decode("latin-1").encode("utf-8"),
        *[saved(shades(9, 9), kind) for kind in ("GIF", "TIFF", "BMP", "ICO", "PPM", "PDF", "EPS", "PCX", "TGA")],
    ],
)
def test_what_does_not_begin_like_a_picture_is_of_another_kind(content: bytes) -> None:
    assert refused(content)[0] == "unsupported-media-type"


@pytest.mark.parametrize("media", KINDS)
def test_a_picture_that_lacks_its_end_is_refused_wherever_it_was_cut(media: str) -> None:
    whole = KINDS[media](20, 10)
    for length in range(12, len(whole)):
        assert refused(whole[:length])[0] == "invalid-image", length


@pytest.mark.parametrize("media", ["image/png", "image/webp"])
@pytest.mark.parametrize("behind", [b"\x00", HTML, ZIP, PDF, b"GIF89a"])
def test_nothing_may_lie_behind_the_end(media: str, behind: bytes) -> None:
    assert refused(KINDS[media]() + behind) == ("invalid-image", "has something behind its end")


@pytest.mark.parametrize(
    "behind",
    [
        jpeg(),
        jpeg(4, 4) + jpeg(2, 2),
        b"\x00\x00\x00\x18ftypmp42",
        b"SEFH\x6a\x00SEFT",
        b"\x00",
        b"\xff\xd9",
    ],
    ids=["MPO or Ultra HDR", "three", "motion", "notes", "a byte", "another end"],
)
def test_what_phones_put_behind_a_jpeg_is_left_out(behind: bytes) -> None:
    whole = jpeg(8, 8, segment(0xE2, b"MPF\x00II*\x00"))
    assert picture_of(whole + behind) == picture_of(whole)


def test_of_the_pictures_of_a_phone_the_first_is_kept() -> None:
    first, second = shades(64, 48), shades(64, 48).transpose(Image.Transpose.ROTATE_180)
    sent = saved(first, "MPO", save_all=True, append_images=[second])
    kept = opened(picture_of(sent).content)
    assert (kept.format, getattr(kept, "n_frames", 1)) == ("JPEG", 1)
    assert alike(kept, first, most=16)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_picture_that_moves_is_refused(kind: str) -> None:
    more = [shades(20, 10).transpose(Image.Transpose.ROTATE_180)]
    moving = saved(shades(20, 10), kind, save_all=True, append_images=more)
    assert refused(moving) == ("invalid-image", "must be one still picture")


@pytest.mark.parametrize("behind", [HTML, ZIP, PDF], ids=["page", "archive", "PDF"])
def test_but_no_other_document_lies_behind_one(behind: bytes) -> None:
    assert refused(jpeg() + behind) == ("invalid-image", "carries another kind of document beside its pixels")


@pytest.mark.parametrize("media", KINDS)
@pytest.mark.parametrize(
    "document", [HTML, b"<SvG/oNload =", b"<?php ?>", ZIP, b"PK\x05\x06" + bytes(18), PDF, b"<!DOCTYPE html>"]
)
def test_a_picture_carries_no_other_document(media: str, document: bytes) -> None:
    data = b"\x00*/=" + document
    beside = {"image/png": chunk(b"tEXt", data), "image/jpeg": segment(0xFE, data), "image/webp": part(b"XMP ", data)}
    assert refused(KINDS[media](1, 1, beside[media])) == (
        "invalid-image",
        "carries another kind of document beside its pixels",
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (png(LONGEST_SIDE + 1, 1), "pixels on a side"),
        (png(1, LONGEST_SIDE + 1), "pixels on a side"),
        (png(2**31 - 1, 2**31 - 1), "at most"),
        (png(9_000, 9_000), "at most"),
        (png(8_000, 5_001), "at most"),
        (b"\xff\xd8" + frame(65_535, 65_535) + SCAN + b"\xff\xd9", "at most"),
        (b"\xff\xd8" + frame(65_535, 9) + SCAN + b"\xff\xd9", "pixels on a side"),
        (riff(extended(16_384, 16_384), lossless(16_384, 16_384)), "at most"),
        (riff(lossless(16_384, 1)), "pixels on a side"),
        (riff(lossy(9_999, 9_999)), "at most"),
    ],
)
def test_a_picture_that_would_fill_a_memory_is_refused_by_its_header(content: bytes, why: str) -> None:
    assert why in refused(content)[1]


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "1"), ("JPEG", "L")])
def test_the_largest_picture_is_taken(kind: str, mode: str) -> None:
    largest = saved(Image.new(mode, (8_000, 5_000), 1), kind)
    assert MOST_PIXELS == 8_000 * 5_000
    assert opened(picture_of(largest).content).size == (8_000, 5_000)


@pytest.mark.parametrize(("more", "kind"), [(80, "image/jpeg"), (100, "invalid-image")])
def test_a_picture_is_not_passed_over_more_often_than_encoders_have_it(more: int, kind: str) -> None:
    whole = jpeg(64, 48, progressive=True)
    last_scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert verdict(whole[:-2] + last_scan * more + whole[-2:]) == kind


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_that_grows_is_not_unpacked(kind: bytes) -> None:
    data = {b"iTXt": b"a\0\1\0\0\0"}.get(kind, b"a\0\0") + zlib.compress(bytes(50_000_000))
    assert refused(png(1, 1, chunk(kind, data)))[0] == "invalid-image"


@pytest.mark.parametrize(
    "content",
    [
        PNG_SIGNATURE + IDAT + END,
        PNG_SIGNATURE + header() + END,
        PNG_SIGNATURE + header() + header() + IDAT + END,
        png()[:-16] + b"\x00\x00\x00\x00" + END,
        png(0, 1),
        PNG_SIGNATURE + header(depth=3) + IDAT + END,
        PNG_SIGNATURE + header(colour=5) + IDAT + END,
        PNG_SIGNATURE + header(interlace=2) + IDAT + END,
        PNG_SIGNATURE + header(colour=3) + IDAT + chunk(b"PLTE", b"rgb") + END,
        PNG_SIGNATURE + chunk(b"IHDR", b"short") + IDAT + END,
        PNG_SIGNATURE + header() + IDAT[:-1] + b"?" + END,
        PNG_SIGNATURE + header() + chunk(b"ID\x00T", b"x") + IDAT + END,
        PNG_SIGNATURE + header() + IDAT + chunk(b"IEND", b"x"),
        PNG_SIGNATURE + header(20, 10) + chunk(b"IDAT", zlib.compress(bytes(9))) + END,
        png(1, 1, chunk(b"acTL", struct.pack(">II", 2, 0))),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + frame() + b"\xff\xd9",
        b"\xff\xd8" + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame() + frame() + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(marker=0xC9) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(precision=12) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + segment(0xC0, b"\x08\x00\x08\x00\x08\x03") + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(8, 0) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + jpeg(),
        jpeg(8, 8, frame()),
        b"\xff\xd8" + frame() + SCAN * 101 + b"\xff\xd9",
        jpeg()[:-2] + SCAN * 101 + b"\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x01" + frame() + SCAN + b"\xff\xd9",
        b"\xff\xd8\xff\xe0\x00\x04JFIF" + frame() + SCAN + b"\xff\xd9",
        b"\xff\xd8\xff\xd8" + frame() + SCAN + b"\xff\xd9",
        riff(part(b"EXIF", b"x")),
        riff(lossless(), lossless()),
        riff(part(b"EXIF", b"x"), lossless()),
        riff(extended(2, 1), lossless(1, 1)),
        riff(extended(), extended(), lossless()),
        riff(extended(), part(b"ANIM", bytes(6)), lossless()),
        riff(part(b"VP8L", b"\x00" * 10)),
        riff(part(b"VP8 ", b"\x11" * 20)),
        riff(lossy()),
        riff(lossy(0, 1)),
        riff(part(b"EXIF", b"x"), webp()[12:]),
        riff(extended(2, 1), webp()[12:]),
        riff(extended(), extended(), webp()[12:]),
        riff(part(b"VP8X", b"x"), lossless()),
    ],
)
def test_a_picture_with_one_thing_wrong_is_no_picture(content: bytes) -> None:
    assert refused(content)[0] == "invalid-image"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_no_bytes_at_all_are_an_error_of_ours(media: str, data: st.DataObject) -> None:
    whole = bytearray(KINDS[media](20, 10))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + 1] = data.draw(st.binary(max_size=4))
    assert verdict(bytes(whole)) in (media, "invalid-image", "unsupported-media-type")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff" * 5_000_000,
        b"\xff\xd8" + segment(0xFE) * 1_200_000,
        b"\xff\xd8" + frame() + SCAN + b"\xff" * 2_500_000 + b"\x00" * 2_500_000,
        PNG_SIGNATURE + header() + chunk(b"teXt") * 400_000,
        riff(extended(), *[part(b"ABCD", b"")] * 600_000),
        png(1, 1, chunk(b"teXt", b"<" * 5_000_000)),
        png(1, 1, chunk(b"teXt", b"<svg" + b" " * 2_500_000 + b"a" * 2_500_000)),
        jpeg()[:-2] + SCAN * 300_000,
    ],
    ids=["fill", "segments", "pixels", "chunks", "parts", "markup", "tags", "scans"],
)
def test_no_five_megabytes_keep_us_long(content: bytes) -> None:
    with gc_paused():  # of the picture, not of what all tests of this process hold
        began = time.thread_time()
        verdict(content)
        assert time.thread_time() - began < 0.5


async def test_one_picture_is_worked_on_at_a_time_and_one_that_waits_too_long_is_refused() -> None:
    begun, go_on = threading.Event(), threading.Event()
    worked: list[bytes] = []

    def work(sent: bytes) -> Picture:
        worked.append(sent)
        begun.set()
        go_on.wait(10)
        return Picture("image/png", sent)

    rewriter = ImageRewriter(work, seconds=0.05)
    for sent in (b"first", b"second"):
        with pytest.raises(TooBusy):
            await rewriter.rewrite(sent)
    assert begun.is_set()
    go_on.set()
    assert (await rewriter.rewrite(b"third")).content == b"third"
    assert worked == [b"first", b"third"]
    rewriter.close()


async def test_who_hangs_up_while_it_waits_is_not_worked_for() -> None:
    begun, go_on = threading.Event(), threading.Event()
    worked: list[bytes] = []

    def work(sent: bytes) -> Picture:
        worked.append(sent)
        begun.set()
        go_on.wait(10)
        return Picture("image/png", sent)

    rewriter = ImageRewriter(work)
    working = asyncio.create_task(rewriter.rewrite(b"first"))
    await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.create_task(rewriter.rewrite(b"second"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    go_on.set()
    await working
    await rewriter.rewrite(b"third")
    assert worked == [b"first", b"third"]
    rewriter.close()
