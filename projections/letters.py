"""Letters, as they are looked for and put in order: which of them count as which, and which have a place of their own.

``fold`` is for both, so that a list never tells letters apart that a search takes for one. Accents go by Unicode's own
decomposition, but where an alphabet has the whole for a letter of its own (``й``). Letters that are not made of another
and a mark, but are written as one or two plain ones for want of them, go by a table: that of Postgres' ``unaccent``
(``unaccent.rules``, from CLDR's Latin-ASCII).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from unicodedata import normalize

_REMEMBERED: Final = 4_096
"""Letters."""
ACCENTS: Final = re.compile("[\u0300-\u036f]")
_WRITTEN_AS: Final = (
    *("æ:ae", "ð:d", "ø:o", "þ:th", "đ:d", "ħ:h", "ı:i", "ĸ:q", "ł:l", "ŋ:n", "œ:oe", "ŧ:t", "ƀ:b", "ƃ:b", "ƈ:c"),
    *("ƌ:d", "ƒ:f", "ƕ:hv", "ƙ:k", "ƚ:l", "ƞ:n", "ƣ:oi", "ƥ:p", "ƫ:t", "ƭ:t", "ƴ:y", "ƶ:z", "ǥ:g", "ȡ:d", "ȥ:z"),
    *("ȴ:l", "ȵ:n", "ȶ:t", "ȷ:j", "ȸ:db", "ȹ:qp", "ȼ:c", "ȿ:s", "ɀ:z", "ɇ:e", "ɉ:j", "ɍ:r", "ɏ:y", "ɓ:b", "ɖ:d"),
    *("ɗ:d", "ɛ:e", "ɠ:g", "ɨ:i", "ɩ:i", "ɲ:n", "ʈ:t", "ʉ:u", "ʋ:v", "ẜ:s", "ẝ:s", "ỻ:ll", "ỽ:v", "ỿ:y", "ⱡ:l"),
    *("ⱥ:a", "ⱦ:t", "ⱨ:h", "ⱪ:k", "ⱬ:z"),
)
"""Small letters of Latin orthographies."""
_PLAIN: Final[Mapping[int, str]] = str.maketrans(dict(each.split(":") for each in _WRITTEN_AS))

_BEHIND: Final = (
    *("eə", "oɔ", "аә", "гґғҕ", "дђҙ", "еє", "жҗ", "зѕ", "иіїйј", "кқҡ", "лљ", "нңҥњ", "оө", "сҫ", "тћ", "уўүұ", "хҳһ"),
    "чҷџ",
)
"""Letters that stand behind the first of their row, as in Unicode's default order (DUCET) and in the alphabets of
Ukraine, Belarus, Serbia, Kazakhstan and others, in which each is a letter of its own.
"""
_LAST: Final = 0xF8F0
"""Of private use, and behind all letters that words begin with."""
_PLACES: Final[Mapping[int, str]] = {
    ord(letter): f"{row[0]}{chr(_LAST + place)}" for row in _BEHIND for place, letter in enumerate(row[1:])
}


def fold(word: str) -> str:
    """The word without accents and in plain letters: ``lodz`` for ``łódź``. It is in normal form, and stays so."""
    if word.isascii():
        return word
    return normalize("NFC", "".join(map(_folded, normalize("NFC", word))))


def in_order(folded: str) -> str:
    """What puts it in order, when it is compared by code points."""
    return folded if folded.isascii() else folded.translate(_PLACES)


@lru_cache(maxsize=_REMEMBERED)
def _folded(letter: str) -> str:
    if ord(letter) in _PLACES:
        return letter
    return normalize("NFC", ACCENTS.sub("", normalize("NFD", letter))).translate(_PLAIN)
