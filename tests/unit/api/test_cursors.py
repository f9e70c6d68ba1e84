"""Cursors: opaque, and good for one list only."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.queries.lists.cursors import InvalidCursor, decode, encode, list_id
from infra.event_codec import CODEC
from infra.eventsourcing.event_log import EventLog

LOG = EventLog(log_id=UUID(int=1), shards=8, history=UUID(int=9), codec=CODEC)
LIST = list_id(LOG, "products", {"sort": "name", "category": None})

words = st.text(st.characters(codec="utf-8"), max_size=200)


@given(words, words)
def test_a_cursor_leads_back_to_its_place(value: str, key: str) -> None:
    assert decode(LIST, encode(LIST, [value, key]), (str, str)) == [value, key]


@given(st.text(max_size=100))
def test_rubbish_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidCursor):
        decode(LIST, text, (str, str))


@given(st.sampled_from(["lamp", "lamps", "a lamp"]), st.integers(0), st.integers(1, 127))
def test_a_cursor_with_a_changed_character_is_none(word: str, place: int, change: int) -> None:
    text = bytearray(encode(LIST, [word, "a"]).encode())
    text[place % len(text)] = (text[place % len(text)] + change) % 128
    with pytest.raises(InvalidCursor):
        decode(LIST, text.decode(), (str, str))


@pytest.mark.parametrize("more", ["=", "==", "====", "\n", " ", "!", "A"])
def test_nor_is_one_with_something_behind_it(more: str) -> None:
    with pytest.raises(InvalidCursor):
        decode(LIST, encode(LIST, ["lamp", "a"]) + more, (str, str))


@pytest.mark.parametrize(
    "other",
    [
        list_id(LOG, "orders", {"sort": "name", "category": None}),
        list_id(LOG, "products", {"sort": "price", "category": None}),
        list_id(LOG, "products", {"sort": "name", "category": "lamps"}),
        list_id(
            EventLog(log_id=UUID(int=2), shards=8, history=UUID(int=9), codec=CODEC),
            "products",
            {"sort": "name", "category": None},
        ),
    ],
    ids=["another list", "another sort", "another filter", "another log"],
)
def test_a_cursor_is_good_for_one_list_only(other: bytes) -> None:
    with pytest.raises(InvalidCursor):
        decode(other, encode(LIST, ["lamp", "a"]), (str, str))


def test_a_cursor_of_another_shape_is_none() -> None:
    with pytest.raises(InvalidCursor):
        decode(LIST, encode(LIST, [7]), (str, str))
