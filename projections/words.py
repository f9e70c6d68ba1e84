"""The words of a text, as they are found, told alike and put in order: the same in every script, on every server.

What a server's own parser and trigrams make of a text hangs on the locale that its cluster was made with: under ``C``
letters beyond ASCII are no letters to ``pg_trgm``, and ``see filter.png`` has no word ``filter`` anywhere. So texts are
taken apart here, and Postgres is given lexemes and plain ASCII.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from unicodedata import category, normalize

from domain.values import normal_form
from projections.letters import ACCENTS, fold, in_order

LONGEST: Final = 100
"""Letters of a word. What is longer is cut, in texts and in what is searched for alike."""
LONGEST_KEY: Final = 200
"""Letters of a sort key: cursors carry them."""
_REMEMBERED: Final = 4_096
"""Texts: a product is written whenever its stock changes, and its texts stay what they were."""
_PLAIN: Final = re.compile(r"[a-z0-9]+")
_SPACELESS: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana and Han have no spaces between words: each of their letters is one."""
_MARKS: Final = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b6-\u17d3\u3099\u309a"
_PIECE: Final = re.compile(rf"[{_SPACELESS}][{_MARKS}]*|[^ {_SPACELESS}]+")
_NUMBER: Final = re.compile(r"[0-9]+")
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"


@lru_cache(maxsize=_REMEMBERED)
def words_of(text: str) -> tuple[str, ...]:
    """The words, in their order and one spelling each: in small and plain letters, without accents and punctuation."""
    plain = normal_form(text)
    if plain.isascii():
        return tuple(word[:LONGEST] for word in _PLAIN.findall(plain))
    pieces = map(fold, _PIECE.findall("".join(map(_letter, plain))))
    return tuple(word[:LONGEST] for word in pieces if word)


def lexemes(words: Iterable[str]) -> str:
    """Words with their positions, as Postgres reads a ``tsvector``."""
    return " ".join(f"'{word}':{place}" for place, word in enumerate(words, 1))


def likeness(word: str) -> str:
    """A word of :func:`words_of` in ASCII, letter for letter: words that are alike stay alike, for ``pg_trgm``.

    The letters of an alphabet lie side by side in Unicode, and so none of them becomes another, but for those that
    have an accent.
    """
    if word.isascii():
        return word
    return "".join(map(_alike, ACCENTS.sub("", normalize("NFKD", word))))


def sort_key(text: str) -> str:
    """What people sort a text by: its words without case and accents, numbers by their size.

    It is compared by code points. A number begins with how many digits it has.
    """
    return _NUMBER.sub(_by_size, in_order(" ".join(words_of(text))))[:LONGEST_KEY]


def _by_size(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    return f"{min(len(digits), 9)}{digits}"


def _letter(char: str) -> str:
    """The character, or a space for what stands between words; what is not seen is nothing."""
    kind = category(char)
    if kind == "Cf":
        return ""
    return char if kind[0] in "LMN" or kind == "So" else " "


def _alike(char: str) -> str:
    return char if char.isascii() else _ALPHABET[ord(char) % len(_ALPHABET)]
