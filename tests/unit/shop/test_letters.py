"""Letters that are looked for and put in order as others, by the tables that are named as their source."""

from itertools import pairwise
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.values import normal_form
from infra.embedded.release import postgres_release
from projections.letters import fold
from projections.words import LONGEST, sort_key, words_of

RULES = postgres_release().program.parents[1] / "share" / "tsearch_data" / "unaccent.rules"
TWO_SIGNS = {"Ŀ", "ŀ", "ŉ", "ẚ"}
"""Letters that are two, of which unaccent leaves one out."""


def of_orthographies(letter: str) -> bool:
    """Latin but for signs of phonetics, Greek, Cyrillic."""
    return "À" <= letter <= "ɏ" or "Ͱ" <= letter <= "ӿ" or "Ḁ" <= letter <= "ỿ"


def test_letters_are_folded_as_unaccent_folds_them() -> None:
    rules = [line.split("\t") for line in RULES.read_text(encoding="utf-8").splitlines() if "\t" in line]
    letters = {a: plain for a, plain in rules if len(a) == 1 and a.isalpha() and of_orthographies(a)}
    folded = {a: fold(normal_form(a)) for a in letters if a not in TWO_SIGNS}
    assert len(folded) > 500
    assert folded == {a: normal_form(plain) for a, plain in letters.items() if a not in TWO_SIGNS}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Łódź", ("lodz",)),
        ("Smørrebrød", ("smorrebrod",)),
        ("ŒUVRE Ænima", ("oeuvre", "aenima")),
        ("Þór Đorđe Ħal Straße", ("thor", "dorde", "hal", "strasse")),
        ("İstanbul Iğdır", ("istanbul", "igdir")),
        ("Ёлка ещё", ("елка", "еще")),
        ("Йод Їжак ЎЗОР", ("йод", "їжак", "ўзор")),
        ("Ελλάς", ("ελλασ",)),
        ("Ґанок", ("ґанок",)),
        ("が 가각 क़", ("が", "가각", "क़")),
        ("\u0301 a\u0301 \u0308\u0301", ("a",)),
        ("æ" * LONGEST, ("ae" * (LONGEST // 2),)),
    ],
)
def test_words_are_in_plain_letters(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == tuple(normalize("NFC", word) for word in words)


ALPHABETS = {
    "Ukrainian": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "Belarusian": "абвгдежзійклмнопрстуўфхцчшыьэюя",
    "Russian": "абвгдежзийклмнопрстуфхцчшщъыьэюя",
    "Serbian": "абвгдђежзијклљмнњопрстћуфхцчџш",
    "Kazakh": "аәбвгғдежзийкқлмнңоөпрстуүұфхһцчшщъыьэюя",
    "Azerbaijani": "abcdeəfghijklmnopqrstuvxyz",
    "Greek": "αβγδεζηθικλμνξοπρστυφχψω",
}


@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=ALPHABETS.keys())
def test_letters_are_in_the_order_of_their_alphabet(alphabet: str) -> None:
    last = alphabet[-1]
    for before, letter in pairwise(alphabet):
        assert sort_key(before + last) < sort_key(letter), (before, letter)
        assert sort_key(letter.upper()) == sort_key(letter)


@pytest.mark.parametrize("pair", ["łl", "đd", "ħh", "øo", "éè", "ёе", "ıi", "ŁĽ"])
def test_letters_that_are_found_as_one_are_sorted_as_one(pair: str) -> None:
    one, other = pair[0], pair[1]
    assert (sort_key(one), words_of(one)) == (sort_key(other), words_of(other))


@given(st.text())
def test_no_word_is_empty(text: str) -> None:
    assert all(words_of(text))


@given(st.text())
def test_what_is_folded_stays_as_it_is(text: str) -> None:
    assert [fold(word) for word in words_of(text)] == list(words_of(text))


@given(st.text())
def test_one_order_for_all_spellings(text: str) -> None:
    assert sort_key(normalize("NFD", text)) == sort_key(normalize("NFC", text))
