"""Pages of the log as COPY writes them, cut into events."""

import pytest

from projections.rebuild.reading import cut, last_line
from tests.builders import ORDER_ID


def line(data: str, *, version: int = 2) -> bytes:
    """An event as COPY writes it: a backslash is two."""
    texts = (ORDER_ID, 41, version, "order.shipped", 1, "2026-11-22 12:00:00.25+00", data)
    return "\t".join(str(text).replace("\\", "\\\\") for text in texts).encode() + b"\n"


def test_an_event_is_cut_into_what_was_written_of_it() -> None:
    (shipped,) = cut(line("{}"))
    texts = (str(ORDER_ID), "41", "2", "order.shipped", "1", "2026-11-22 12:00:00.25+00", "{}")
    assert shipped == tuple(text.encode() for text in texts)


@pytest.mark.parametrize("said", ['"quoted"', "back\\\\slash", "\x85\u2028", "\\\\N", "Größe 😀", "a\\tb", '\\"'])
def test_every_text_comes_as_it_was(said: str) -> None:
    block = b"".join(line(each) for each in ("before", said, "behind"))
    assert [each[6].decode() for each in cut(block)] == ["before", said, "behind"]


def test_a_page_goes_on_behind_its_last_event() -> None:
    lines = [line("{}", version=version) for version in (1, 2, 3)]
    assert last_line([lines[0], b"".join(lines[1:])])[2] == b"3"
    assert last_line([lines[0]])[2] == b"1"
