"""What counts as a picture: told by its bytes alone, from the first to the last."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Problem
from api.image_validation import LONGEST_SIDE, picture_of
from tests.pictures import (
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
    part,
    png,
    riff,
    segment,
    webp,
)

IDAT = chunk(b"IDAT", b"x")
HTML = b"<html><script>alert(1)</script>"
CARRIES = "carries another kind of document beside its pixels"
ZIP = b"PK\x03\x04\x14\x00 and so on"
PDF = b"%PDF-1.7"


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
def test_a_sound_picture_is_what_it_is(media: str) -> None:
    assert picture_of(KINDS[media]()) == (media, KINDS[media]())
    assert picture_of(KINDS[media](8_000, 5_000)).content_type == media


@pytest.mark.parametrize(
    "content",
    [
        png(1, 1, chunk(b"tEXt", b"Comment\x00fine")),
        PNG_SIGNATURE + header(colour=3) + chunk(b"PLTE", b"rgb") + IDAT + IDAT + END,
        jpeg(8, 8, segment(0xE1, b"Exif\x00\x00"), segment(0xFE, b"by hand"), b"\xff\xff" + segment(0xDB, b"table")),
        b"\xff\xd8" + frame(marker=0xC2) + SCAN + segment(0xC4, b"table") + SCAN + b"\xff\xd9",
        webp(3, 2, part(b"EXIF", b"odd")),
        riff(lossy(30, 20)),
        riff(extended(30, 20), part(b"ALPH", b"a"), lossy(30, 20)),
    ],
)
def test_what_encoders_add_is_no_harm(content: bytes) -> None:
    picture_of(content)


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
    assert picture_of(whole + behind) == ("image/jpeg", whole)


@pytest.mark.parametrize("behind", [HTML, ZIP, PDF], ids=["page", "archive", "PDF"])
def test_but_no_other_document_lies_behind_one(behind: bytes) -> None:
    assert refused(jpeg() + behind) == ("invalid-image", "carries another kind of document beside its pixels")


@pytest.mark.parametrize("media", KINDS)
@pytest.mark.parametrize(
    "document", [HTML, b"<SvG ", b"<?php ?>", ZIP, b"PK\x05\x06" + bytes(18), PDF, b"<!DOCTYPE html>"]
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
        (png(0, 1), "pixels on a side"),
        (png(2**31 - 1, 2**31 - 1), "pixels on a side"),
        (png(9_000, 9_000), "at most"),
        (jpeg(65_535, 65_535), "pixels on a side"),
        (jpeg(8, 0), "pixels on a side"),
        (webp(16_384, 16_384), "pixels on a side"),
        (riff(lossy(0, 1)), "pixels on a side"),
        (riff(lossy(9_999, 9_999)), "at most"),
    ],
)
def test_a_picture_that_would_fill_a_memory_is_refused_by_its_header(content: bytes, why: str) -> None:
    assert why in refused(content)[1]


@pytest.mark.parametrize(
    "content",
    [
        PNG_SIGNATURE + IDAT + END,
        PNG_SIGNATURE + header() + END,
        PNG_SIGNATURE + header() + header() + IDAT + END,
        PNG_SIGNATURE + header(depth=3) + IDAT + END,
        PNG_SIGNATURE + header(colour=5) + IDAT + END,
        PNG_SIGNATURE + header(interlace=2) + IDAT + END,
        PNG_SIGNATURE + header(colour=3) + IDAT + chunk(b"PLTE", b"rgb") + END,
        PNG_SIGNATURE + chunk(b"IHDR", b"short") + IDAT + END,
        PNG_SIGNATURE + header() + IDAT[:-1] + b"?" + END,
        PNG_SIGNATURE + header() + chunk(b"ID\x00T", b"x") + IDAT + END,
        PNG_SIGNATURE + header() + IDAT + chunk(b"IEND", b"x"),
        png(1, 1, chunk(b"acTL", bytes(8))),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + frame() + b"\xff\xd9",
        b"\xff\xd8" + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame() + frame() + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(marker=0xC9) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame(precision=12) + SCAN + b"\xff\xd9",
        b"\xff\xd8" + segment(0xC0, b"\x08\x00\x08\x00\x08\x03") + SCAN + b"\xff\xd9",
        b"\xff\xd8" + frame() + SCAN * 101 + b"\xff\xd9",
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
        riff(lossy(told=5, there=4)),
        riff(part(b"VP8X", b"x"), lossless()),
    ],
)
def test_a_picture_with_one_thing_wrong_is_no_picture(content: bytes) -> None:
    assert refused(content)[0] == "invalid-image"


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
    ],
    ids=["fill", "segments", "pixels", "chunks", "parts", "markup"],
)
def test_no_five_megabytes_keep_us_long(content: bytes) -> None:
    began = time.thread_time()
    verdict(content)
    assert time.thread_time() - began < 0.5
