"""Records in the bytes of a file, however they are cut and whatever is broken in them."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.imports.record_splitter import BROKEN_QUOTES, LONGEST_RECORD, TOO_LONG, Record, Splitter


def split(
    data: bytes, *, quoted: bool = True, cuts: Iterable[int] = (), offset: int = 0, line: int = 1
) -> list[Record]:
    """The records of the bytes, fed in parts that end at the cuts."""
    splitter = Splitter(quoted=quoted, offset=offset, line=line)
    places = [0, *sorted(cuts), len(data)]
    parts = [data[begin:end] for begin, end in pairwise(places)]
    return [record for part in parts for record in splitter.feed(part)] + list(splitter.finish())


def told(records: Sequence[Record]) -> list[tuple[int, bytes | str]]:
    return [(record.line, record.fault or record.raw.rstrip(b"\r\n")) for record in records]


FILES: dict[str, tuple[bytes, list[tuple[int, bytes | str]]]] = {
    "nothing": (b"", []),
    "blank lines": (b"\n\r\n   \n", []),
    "rows among thousands of blank lines": (
        b"a\n" + b"\n" * 300_000 + b"b\n" + b" \t\r\n" * 100_000 + b"  c\n",
        [(1, b"a"), (300_002, b"b"), (400_003, b"  c")],
    ),
    "blanks behind a blank line that are a row's": (b"\n\n \x0b\x0c\r a\n", [(3, b" \x0b\x0c\r a")]),
    "a blank line that is as long as a record": (
        b"\n" + b" " * (LONGEST_RECORD - 1) + b"\n" + b" " * (LONGEST_RECORD - 1) + b"\nb\n",
        [(4, b"b")],
    ),
    "a blank line that is too long": (
        b"\n\n" + b" " * LONGEST_RECORD + b"\n\nb\n",
        [(3, TOO_LONG), (5, b"b")],
    ),
    "a last line without an end": (b"a\nb", [(1, b"a"), (2, b"b")]),
    "CRLF": (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
    "a byte order mark": (b"\xef\xbb\xbfa\nb\n", [(1, b"a"), (2, b"b")]),
    "a byte order mark and quotes": (b'\xef\xbb\xbf"a"\n', [(1, b'"a"')]),
    "line ends in quotes": (b'"a\nb",1\r\nc\n', [(1, b'"a\nb",1'), (3, b"c")]),
    "quotes in quotes": (b'"say ""hi\n""",x\nb\n', [(1, b'"say ""hi\n""",x'), (3, b"b")]),
    "a quote that is never closed": (b'a\n"b\nc\nd\n', [(1, b"a"), (2, BROKEN_QUOTES), (3, b"c"), (4, b"d")]),
    "a quote closed by a later row's": (
        b'"b,1\nc,2\n"d",3\ne,4\n',
        [(1, BROKEN_QUOTES), (2, b"c,2"), (3, b'"d",3'), (4, b"e,4")],
    ),
    "an inch": (b'5" pipe\nb\n', [(1, BROKEN_QUOTES), (2, b"b")]),
    "inches": (b'5" by 3" pipe\nb\n', [(1, BROKEN_QUOTES), (2, b"b")]),
    "text behind a quote": (b'"a"b\nc\n', [(1, BROKEN_QUOTES), (2, b"c")]),
    "a line that is too long": (
        b"a\n" + b"x" * LONGEST_RECORD + b"\nb\n",
        [(1, b"a"), (2, TOO_LONG), (3, b"b")],
    ),
    "a last line that is too long": (b"x" * 3 * LONGEST_RECORD, [(1, TOO_LONG)]),
    "quotes around too much": (
        b'"' + b"x\n" * LONGEST_RECORD + b'"\nb\n',
        [
            (1, BROKEN_QUOTES),
            *((line, b"x") for line in range(2, LONGEST_RECORD + 1)),
            (LONGEST_RECORD + 1, BROKEN_QUOTES),
            (LONGEST_RECORD + 2, b"b"),
        ],
    ),
}


@pytest.mark.parametrize(("data", "expected"), FILES.values(), ids=FILES.keys())
def test_records_are_found_and_broken_ones_cost_a_line(data: bytes, expected: list[tuple[int, bytes | str]]) -> None:
    assert told(split(data)) == expected


@pytest.mark.parametrize("data", [data for data, _ in FILES.values() if len(data) < 2 * LONGEST_RECORD])
@pytest.mark.parametrize("size", [1, 7, 65_536])
def test_what_is_found_does_not_depend_on_how_the_bytes_are_cut(data: bytes, size: int) -> None:
    if len(data) > 1000 and size < 100:
        size = 9_973
    assert split(data, cuts=range(size, len(data), size)) == split(data)


@pytest.mark.parametrize("line", [b"\n", b"\r\n", b" \n"])
@pytest.mark.parametrize("quoted", [True, False])
def test_blank_lines_cost_no_step_each(line: bytes, quoted: bool) -> None:
    calls = Counter[str]()
    sys.setprofile(lambda frame, event, argument: calls.update([event]))  # noqa: ARG005
    try:
        found = split(line * 50_000 + b"a\n", quoted=quoted)
    finally:
        sys.setprofile(None)
    assert told(found) == [(50_001, b"a")]
    assert calls["call"] + calls["c_call"] < 500


def test_without_quoting_a_quote_is_any_character() -> None:
    assert told(split(b'{"a": "\nb"}\n', quoted=False)) == [(1, b'{"a": "'), (2, b'b"}')]


ROUGH = st.text('a",\n\r', max_size=40).map(str.encode)


@given(ROUGH, st.sets(st.integers(0, 40), max_size=6))
def test_any_bytes_are_found_alike_in_any_parts(data: bytes, cuts: set[int]) -> None:
    assert split(data, cuts=[cut for cut in cuts if cut < len(data)]) == split(data)


@given(ROUGH, st.integers(0, 10))
def test_reading_can_begin_again_behind_any_record(data: bytes, number: int) -> None:
    records = split(data)
    for place, record in enumerate(records[:number], 1):
        assert split(data[record.end :], offset=record.end, line=record.next_line) == records[place:]


@given(ROUGH)
def test_every_line_is_in_one_record_or_blank(data: bytes) -> None:
    lines = data.split(b"\n")
    covered = {number for record in split(data) for number in range(record.line, record.next_line)}
    assert all(number in covered or not line.strip() for number, line in enumerate(lines, 1))


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.lists(FIELDS, min_size=2, max_size=3), max_size=5))
def test_what_a_spreadsheet_writes_is_read_back(rows: list[list[str]]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    read = [
        next(csv.reader([record.raw.decode().removesuffix("\n").removesuffix("\r")], strict=True))
        for record in split(written.getvalue().encode())
    ]
    assert read == [row for row in rows if "".join(row) or len(row) > 1]
