"""Words of texts: the same however a text is composed, and alike where they look alike."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.queries.lists.search import read
from projections.words import LONGEST, LONGEST_KEY, lexemes, likeness, sort_key, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        (" -,. ", ()),
        ("See filter.png!", ("see", "filter", "png")),
        ("XR-1234", ("xr", "1234")),
        ("Straße", ("strasse",)),
        ("Самовар медный", ("самовар", "медный")),
        ("नमस्ते", ("नमस्ते",)),
        ("می\u200cخواهم", ("میخواهم",)),
        ("東京", ("東", "京")),
        ("น้ำ", ("น้ํ", "า")),
        ("'quoted' back\\slash", ("quoted", "back", "slash")),
        ("x" * 1000, ("x" * LONGEST,)),
    ],
)
def test_a_text_has_its_words(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


@given(st.text())
def test_texts_that_look_the_same_have_the_same_words(text: str) -> None:
    assert words_of(normalize("NFD", text)) == words_of(normalize("NFC", text))


@given(st.text())
def test_nothing_in_a_text_can_end_a_lexeme(text: str) -> None:
    assert not {"'", "\\", ":", " "} & set("".join(words_of(text)))
    assert lexemes(words_of(text)).count("'") == 2 * len(words_of(text))


@given(st.text())
def test_likeness_is_ascii_and_sort_keys_are_short(text: str) -> None:
    assert likeness(text).isascii()
    assert len(sort_key(text)) <= LONGEST_KEY


@pytest.mark.parametrize(
    "alphabet", ["абвгдежзиклмнопрстуфхцчшщъыьэюя", "αβγδεζηθικλμνξοπρστυφχψω", "אבגדהוזחטיכלמנסעפצקרשת"]
)
def test_letters_of_an_alphabet_stay_apart(alphabet: str) -> None:
    assert len(set(likeness(alphabet))) == len(alphabet)


@pytest.mark.parametrize(
    ("typed", "query", "nearly"),
    [
        ("red chair", "('red':* & 'chair':*)", ("red", "chair")),
        ("XR-1234", "(('xr' <-> '1234'))", ("xr", "1234")),
        ("chair -red", "('chair':* & !'red')", ()),
        ('"no chair"', "(('no' <-> 'chair'))", ()),
        ('-"no chair', "(!('no' <-> 'chair'))", ()),
        ("red or keyboard lamp", "('red':*) | ('keyboard':* & 'lamp':*)", ()),
        ("or", "", ()),
        ("or or lamp or", "('lamp':*)", ()),
        ("a 12v", "('a' & '12v')", ("a", "12v")),
        ("- & | ! () <->", "", ()),
        ("one two three four five", "('one':* & 'two':* & 'three':* & 'four':* & 'five':*)", ()),
    ],
)
def test_what_is_typed_is_read(typed: str, query: str, nearly: tuple[str, ...]) -> None:
    assert read(typed) == (query, nearly)
