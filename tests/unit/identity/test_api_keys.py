"""How API keys are written: what is one is told from what is not without asking anybody."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.identity.api_keys import InvalidApiKey, fresh, prefix_of
from infra.identity.api_keys.format import ALPHABET, LENGTH, read


@given(st.uuids(version=None) | st.just(UUID(int=0)) | st.just(UUID(int=2**128 - 1)))
def test_a_key_says_which_row_it_is_and_what_must_stand_there(key_id: UUID) -> None:
    key = fresh(key_id)
    assert (len(key.text), len(key.digest)) == (LENGTH, 32)
    assert read(key.text) == (key_id, key.digest)
    assert key.text.startswith(f"{prefix_of(key_id)}_")


def test_two_keys_of_one_row_differ_and_neither_shows_in_a_repr() -> None:
    key_id = uuid4()
    one, other = fresh(key_id), fresh(key_id)
    assert one.digest != other.digest
    assert one.text not in repr(one)


@given(place=st.integers(0, LENGTH - 1), letter=st.sampled_from([*ALPHABET, "_", "-", "é", "٣"]))
def test_a_key_with_one_wrong_letter_is_none(place: int, letter: str) -> None:
    text = fresh(UUID(int=7)).text
    wrong = text[:place] + letter + text[place + 1 :]
    if wrong != text:
        with pytest.raises(InvalidApiKey):
            read(wrong)


def beyond_any_row() -> str:
    """Right in form and sum, but its first part is no 128-bit number."""
    from infra.identity.api_keys.format import _checksum

    body = f"weir_{'z' * 22}_{'0' * 43}"
    return body + _checksum(body)


@pytest.mark.parametrize("text", ["", "weir_", "Bearer x", "weir_" + "0" * 72, "x" * 1_000_000, beyond_any_row()])
def test_what_was_never_a_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidApiKey):
        read(text)


@pytest.mark.parametrize("change", [" {}", "{}\n", "{}{}"])
def test_a_key_with_something_around_it_is_none(change: str) -> None:
    text = fresh(UUID(int=7)).text
    with pytest.raises(InvalidApiKey):
        read(change.format(text, text))
