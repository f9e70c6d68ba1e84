"""Search texts, as shoppers type them: words that all occur, ``"a phrase"``, ``-without``, ``this or that``.

The text becomes a ``tsquery`` of quoted lexemes and our own operators, never deep: nothing that is typed can be more
than a word in it.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from projections.words import likeness, words_of

SHORTEST_BEGUN: Final = 3
"""Letters. Fewer would begin half of the words that there are."""
MOST_NEARLY: Final = 4
"""Words. Each costs a look into the index of likeness."""

_TERM: Final = re.compile(r'(-*)(?:"([^"]*)"?|([^\s"]+))')


class Search(NamedTuple):
    """A ``tsquery``, and words of which each must be much like one of a title; none where that would not do."""

    query: str
    nearly: tuple[str, ...]


def read(typed: str) -> Search:
    """What is searched for. Likeness knows no operators: it is for plain words, and for so few that it is not dear."""
    alternatives: list[list[str]] = [[]]
    nearly: list[str] | None = []
    for without, phrase, plain in _terms(typed):
        if plain.casefold() == "or" and not without:
            alternatives.append([])
            nearly = None
        elif words := words_of(phrase or plain):
            alternatives[-1].append(_negated(words) if without else _found(words, whole=bool(phrase)))
            nearly = None if without or phrase or nearly is None else [*nearly, *words]
    query = " | ".join(f"({' & '.join(each)})" for each in alternatives if each)
    return Search(query, tuple(map(likeness, nearly)) if nearly and len(nearly) <= MOST_NEARLY else ())


def _terms(typed: str) -> Iterator[tuple[str, str, str]]:
    return (match.groups(default="") for match in _TERM.finditer(typed))  # type: ignore[misc]


def _negated(words: tuple[str, ...]) -> str:
    return f"!{_found(words, whole=True)}"


def _found(words: tuple[str, ...], *, whole: bool) -> str:
    """The words one behind the other. A single one may be only begun, unless it is a number or a part of a name."""
    if len(words) > 1:
        return f"({' <-> '.join(map(_quoted, words))})"
    (word,) = words
    begun = not whole and len(word) >= SHORTEST_BEGUN and not any(char.isdigit() for char in word)
    return _quoted(word) + (":*" if begun else "")


def _quoted(word: str) -> str:
    return f"'{word}'"
