"""Log lines as bytes: JSON for machines, columns and colours for people at a terminal."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

Render = Callable[[Mapping[str, Any]], bytes]
"""Makes the line of an event."""

_COLOURS: Final = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}


def json_line(event: Mapping[str, Any]) -> bytes:
    """An object in one line."""
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate, a circle, an integer beyond 64 bit: no reason to lose the line
        return orjson.dumps({name: repr(value) for name, value in event.items()})


def console_line(event: Mapping[str, Any], *, colours: bool = False) -> bytes:
    """Time of day, level, event, then the rest as ``name=value``, and a traceback on its own lines.

    What strangers send cannot forge a line nor speak to the terminal: what is not printable is written out.
    """
    rest = dict(event)
    when, level, what = rest.pop("time"), rest.pop("level"), _printable(rest.pop("event"))
    trace = rest.pop("traceback", "")
    if rest.get("correlation_id") == rest.get("request_id"):
        rest.pop("correlation_id", None)
    fields = " ".join(f"{name}={_printable(value)}" for name, value in rest.items())
    code = _COLOURS.get(level) if colours else None
    head = f"{when[11:23]} {level:<8} {what}"
    head, fields = (_painted(head, code), _painted(fields, "2")) if colours else (head, fields)
    text = f"{head}  {fields}{chr(10) if trace else ''}{trace}".rstrip()
    return text.encode("utf-8", "backslashreplace")


def wants_colours(terminal: bool) -> bool:
    """Whether to paint lines; who sets ``NO_COLOR`` wants none (no-color.org)."""
    return terminal and not os.environ.get("NO_COLOR")


def _painted(text: str, code: str | None) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text


def _printable(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def error_of(told: Any) -> BaseException | None:
    """The error that a line tells of: itself, what ``sys.exc_info`` gives, or (for anything else) the one at hand."""
    if isinstance(told, BaseException) or not told:
        return told or None
    found: BaseException | None = told[1] if isinstance(told, tuple) else sys.exc_info()[1]
    return found


def traceback_text(error: BaseException | None) -> str:
    """Its traceback."""
    return "NoneType: None\n" if error is None else "".join(traceback.format_exception(error))


_second: tuple[int, str] = (0, "")


def timestamp(now: float) -> str:
    """RFC 3339 in UTC with milliseconds; the part down to the second is made once a second."""
    global _second
    whole = int(now)
    if _second[0] != whole:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((now - whole) * 1000):03d}Z"
