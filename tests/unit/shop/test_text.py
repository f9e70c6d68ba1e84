"""Text as people send it: what is refused in it, whatever else it holds."""

import unicodedata

import pytest

from domain.kernel.refusals import InvalidValue
from domain.values import line, text

ALL = [chr(point) for point in range(0x3000)] + ["\ud800", "\udfff", "\ufeff", "\U000e0001", "\U0010ffff"]
CONTROLS = {char for char in ALL if unicodedata.category(char) == "Cs" or (ord(char) < 32 or char == "\x7f")}
BREAKS = {"\t", "\n", "\r", "\x85", "\u2028", "\u2029"}
C1 = {chr(point) for point in range(0x80, 0xA0)}
TURNING = {
    char
    for char in ALL
    if unicodedata.bidirectional(char) in {*["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"]}
} | {"\u061c", "\u200e", "\u200f"}
IGNORED = {*"\xad\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u200b\ufeff\U000e0001"} | {
    chr(point) for point in range(0x2060, 0x2070)
}
"""Unicode's Default_Ignorable_Code_Point, but for joiners and variation selectors."""
HIDDEN = C1 | TURNING | IGNORED


def refuses(check: object, char: str) -> bool:
    assert callable(check)
    try:
        check(f"a{char}b", "/x", longest=3)
    except InvalidValue:
        return True
    return False


def test_text_may_have_line_breaks_and_no_other_controls() -> None:
    assert {char for char in ALL if refuses(text, char)} == CONTROLS - {"\t", "\n", "\r"}


def test_a_line_has_no_line_breaks_either() -> None:
    assert {char for char in ALL if refuses(line, char)} == CONTROLS | BREAKS | HIDDEN


@pytest.mark.parametrize("value", ["\u200d", "\ufe0f ", "\u2800\u200c"])
def test_what_shows_nothing_is_blank(value: str) -> None:
    with pytest.raises(InvalidValue, match="blank"):
        line(value, "/x", longest=9)


@pytest.mark.parametrize("value", ["👩\u200d🚀 doll", "❤️", "می\u200cخواهم", "नमस्ते", "सक्\u200dति"])
def test_joiners_and_variants_stand_where_scripts_and_emoji_need_them(value: str) -> None:
    assert line(value, "/x", longest=20) == value


@pytest.mark.parametrize("value", ["", " ", "\u00a0", "\u2003 "])
def test_only_text_that_may_be_blank_is_blank(value: str) -> None:
    with pytest.raises(InvalidValue, match="blank"):
        text(value, "/x", longest=9)
    assert text(value, "/x", longest=9, blank=True) == value
