"""Bytes as text: each has one, and what is not it is none."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.base64url import decode, encode

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@given(st.binary(max_size=100))
def test_what_was_written_is_read(value: bytes) -> None:
    assert decode(encode(value)) == value


def test_each_text_that_is_read_is_the_one_that_is_written() -> None:
    """Two characters hold a byte and four bits more, which count for nothing (RFC 4648, 3.5)."""
    read = {}
    for text in map("".join, product(ALPHABET, repeat=2)):
        try:
            read[text] = decode(text)
        except ValueError:
            continue
    assert {text: encode(value) for text, value in read.items()} == dict(zip(read, read, strict=True))
    assert sorted(read.values()) == [bytes([number]) for number in range(256)]


@pytest.mark.parametrize(
    "text", ["A", "AA=", "AA==", "=", "AB", "AAB", "A\nA", "AA ", "A*A", "+A", "/w", "ÄA", "\ud800"]
)
def test_any_other_text_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not the one text"):
        decode(text)
