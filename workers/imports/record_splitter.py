"""Records of an uploaded file, found in its bytes as they come: one broken record takes nothing down but itself.

A record of CSV (RFC 4180) may go over several lines. Where its quotes do not come out even, within the longest that a
record may be, only its first line is given up and reading goes on behind that: a quote too many costs one line and not
the rest of the file. What is found never depends on how the bytes were cut, so that reading can begin again anywhere
behind a record.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

LONGEST_RECORD: Final = 128 * 1024
"""In bytes. The longest product needs some 45,000, or twice that where all of it is quotes."""

BOM: Final = b"\xef\xbb\xbf"

TOO_LONG: Final = "too-long"
BROKEN_QUOTES: Final = "broken-quotes"

_SPACE: Final = re.compile(rb"\s++")
_FIELD: Final = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_QUOTED: Final = re.compile(rb"%b(?:,%b)*+\r?\n" % (_FIELD, _FIELD))


class Record(NamedTuple):
    """A record that is not blank. ``line`` is where it begins, from 1; ``fault`` is what is wrong with its form.

    Behind it the file goes on at byte ``end`` and line ``next_line``.
    """

    line: int
    raw: bytes
    end: int
    next_line: int
    fault: str | None = None


class Splitter:
    """Finds the records of one file from byte ``offset`` on, which is the beginning of ``line``.

    ``quoted`` is whether line ends may stand in quotes.
    """

    def __init__(self, *, quoted: bool, offset: int = 0, line: int = 1) -> None:
        self._quoted = quoted
        self._offset = offset
        self._line = line
        self._data = b""
        self._at = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[Record]:
        """The records that are complete now. To be walked to its end before more is fed."""
        self._data += chunk
        return self._records(last=False)

    def finish(self) -> Iterator[Record]:
        """What is left; the last line need not have an end."""
        if self._data or self._skipping:
            self._data += b"\n"
        return self._records(last=True)

    def _records(self, *, last: bool) -> Iterator[Record]:
        if self._offset == 0 and not self._past_mark(last=last):
            return
        while (record := self._next(last=last)) is not None:
            if record.fault is None and record.raw.isspace():
                self._pass_blank_lines()
            else:
                yield record
        self._data = self._data[self._at :]
        self._at = 0

    def _past_mark(self, *, last: bool) -> bool:
        """Passes over a byte order mark; False while it cannot be told whether there is one."""
        if len(self._data) < len(BOM) and not last:
            return False
        if self._data.startswith(BOM):
            self._at = self._offset = len(BOM)
        return True

    def _pass_blank_lines(self) -> None:
        """Passes over those that follow in one step: a file may have as many of them as it has bytes.

        No line that is too long is among them, as none of them goes beyond the length of a record.
        """
        run = _SPACE.match(self._data, self._at, self._at + LONGEST_RECORD)
        if run is not None and (end := self._data.rfind(b"\n", self._at, run.end()) + 1):
            self._taken(end, self._data.count(b"\n", self._at, end))

    def _next(self, *, last: bool) -> Record | None:
        """The next record, blank or not; None when more bytes are needed to tell."""
        data, at = self._data, self._at
        end = data.find(b"\n", at) + 1
        if self._skipping or (end or len(data)) - at > LONGEST_RECORD:
            return self._skipped(end)
        if not end:
            return None
        if not self._quoted or data.find(b'"', at, end) < 0:
            return self._taken(end, 1)
        if (found := _QUOTED.match(data, at, at + LONGEST_RECORD)) is not None:
            return self._taken(found.end(), data.count(b"\n", at, found.end()))
        return self._taken(end, 1, BROKEN_QUOTES) if last or len(data) - at >= LONGEST_RECORD else None

    def _skipped(self, end: int) -> Record | None:
        """Throws away what there is of a line that is too long; the record is told of at its end."""
        self._skipping = not end
        if not end:
            self._offset += len(self._data) - self._at
            self._at = len(self._data)
            return None
        return self._taken(end, 1, TOO_LONG)

    def _taken(self, end: int, lines: int, fault: str | None = None) -> Record:
        raw = self._data[self._at : end] if fault is None else b""
        line, self._line = self._line, self._line + lines
        self._offset += end - self._at
        self._at = end
        return Record(line, raw, self._offset, self._line, fault)
