"""Text as people send it: what is refused in it, whatever else it holds."""

import unicodedata
from collections.abc import Callable

import pytest

from domain.kernel.refusals import InvalidValue
from domain.values import code, foreign_id, line, text

IGNORED = {
    chr(point)
    for first, last in (
        *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)),
        *((0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF)),
        *((0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
    )
    for point in range(first, last + 1)
}
"""Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt)."""
ALL = {*map(chr, range(0x3000)), "\ud800", "\ufff9", "\U0010ffff", *IGNORED}
CONTROLS = {char for char in ALL if unicodedata.category(char) == "Cs" or (ord(char) < 32 or char == "\x7f")}
BREAKS = {"\t", "\n", "\r", "\x85", "\u2028", "\u2029"}
C1 = {chr(point) for point in range(0x80, 0xA0)}
TURNING = {
    char
    for char in ALL
    if unicodedata.bidirectional(char) in {*["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"]}
} | {"\u061c", "\u200e", "\u200f"}
HIDDEN = CONTROLS | BREAKS | C1 | TURNING | IGNORED | {"\ufff9"}
PLACED = {
    chr(point) for point in (*range(0x180B, 0x1810), 0x200C, 0x200D, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
}
"""Joiners and variation selectors, which some scripts need in some places."""


def refuses(check: Callable[..., str], value: str) -> bool:
    try:
        check(value, "/x", longest=20)
    except InvalidValue:
        return True
    return False


def test_text_may_have_line_breaks_and_no_other_controls() -> None:
    assert {char for char in ALL if refuses(text, f"a{char}b")} == CONTROLS - {"\t", "\n", "\r"}


@pytest.mark.parametrize(("check", "hidden"), [(line, HIDDEN), (code, HIDDEN), (foreign_id, HIDDEN - PLACED)])
@pytest.mark.parametrize("around", ["a{}b", "é{}b", "a{}1", "-{}-"])
def test_what_is_ignored_when_it_is_shown_stands_in_no_name(
    check: Callable[..., str], hidden: set[str], around: str
) -> None:
    assert {char for char in ALL if refuses(check, around.format(char))} == hidden


NEEDED = [
    "👩\u200d🚀 doll",
    "🧑🏽\u200d🚀",
    "🏳\ufe0f\u200d🌈",
    "❤\ufe0f",
    "❤\ufe0e",
    "1\ufe0f\u20e3",
    "می\u200cخواهم",
    "ه\u200d",
    "सक्\u200dति",
    "ශ්\u200dරී",
    "র\u200d্যাব",
    "葛\U000e0100城",
    "辻\ufe00",
    "ᠠ\u180e",
]


@pytest.mark.parametrize("value", ["नमस्ते", *NEEDED])
def test_joiners_and_variants_stand_where_scripts_and_emoji_need_them(value: str) -> None:
    assert line(value, "/x", longest=20) == value


@pytest.mark.parametrize("value", NEEDED)
def test_a_name_that_others_are_compared_with_has_none_anywhere(value: str) -> None:
    assert refuses(code, value)


STRAY = [
    *("X\u200d", "X\ufe0f", "X\u200c", "\u200dX", "é\ufe0f", "a\ufe0f\u20e3", "1\ufe0f", "1\ufe0e2", "Łódź\u200c"),
    *(
        "می\u200c",
        "می\u200cX",
        "می\u200c\u200cخ",
        "🚀\u200d",
        "🚀\u200dX",
        "🚀\ufe0f\ufe0f",
        "🚀\u200d\u200d🚀",
        "🚀\u200c🚀",
    ),
    *("葛\ufe0f", "葛\U000e0100\U000e0100", "に\U000e0100", "क\ufe00", "あ\u200dあ", "и\u200d", "\u200d", "\ufe0f "),
]


@pytest.mark.parametrize("value", STRAY)
def test_and_nowhere_else(value: str) -> None:
    assert refuses(line, value)
    assert refuses(code, value)


BLANK = [
    "",
    " ",
    "\u00a0",
    "\u2003 ",
    "\u200d",
    "\u200c",
    "\u2800",
    "\u2800 ",
    "\ufe0f",
    "\u3164",
    "\u200b",
    "\u0300",
    "\u0e31",
    "𝅙",
]


@pytest.mark.parametrize("value", BLANK)
def test_only_text_that_may_be_blank_is_blank(value: str) -> None:
    with pytest.raises(InvalidValue, match="blank"):
        text(value, "/x", longest=9)
    assert text(value, "/x", longest=9, blank=True) == value
    assert refuses(line, value)
    assert refuses(code, value)


@pytest.mark.parametrize("value", ["🚀", "²", "…", "-", "\ue000", "\U0010ffff", "ー", "अ"])
def test_whatever_shows_something_is_not_blank(value: str) -> None:
    assert line(value, "/x", longest=1) == code(value, "/x", longest=1) == value


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u00a0", "\u3000", " \u2003"])
def test_a_name_has_no_blanks_around_it_and_a_foreign_id_keeps_its_own(blank: str) -> None:
    assert line(f"{blank}a b{blank}", "/x", longest=3) == code(f"{blank}a b{blank}", "/x", longest=3) == "a b"
    assert foreign_id(" a ", "/x", longest=3) == " a "
