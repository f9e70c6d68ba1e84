"""Strict JSON, wherever it comes in from outside."""

import json
import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import orjson

DEEPEST: Final = 32
MOST_PARTS: Final = 1_000
"""Commas and opening brackets of one document, about as there are values. Each value costs some microseconds where it
is looked at by itself, and more where it is none that is wanted: a body of a mebibyte has a hundred thousand, and all
others would wait for a second. An order of a hundred lines has 301."""

_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
"""One that does not end reaches to the end of the text, so that no text is gone through twice."""
_OTHERS: Final = rb'[^"\[{,]*+'
_TOO_MANY: Final = re.compile(rb"(?:%b(?:%b%b)*+[\[{,]){%d}" % (_OTHERS, _STRING, _OTHERS, MOST_PARTS + 1), re.DOTALL)
"""So many of them, outside of strings."""

_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"0" * 19
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


class MalformedJson(Exception):
    """It is not strict JSON. The text says why, and repeats nothing of it."""


def check_json(body: bytes) -> None:
    """Refuse what is not strict JSON.

    UTF-8 without BOM, no NaN or Infinity, no duplicate key, no lone surrogate, no NUL, depth <= 32, integers within
    64 bit, nothing behind the document, at most 1,000 commas and brackets. Raises :class:`MalformedJson`.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_PARTS and _TOO_MANY.match(body):
        raise MalformedJson(f"The body has more than {MOST_PARTS:,} commas and brackets.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedJson(f"The body is not JSON at line {error.lineno}, column {error.colno}.") from None
    if _is_suspect(body, value):
        _check_closely(body)


def _is_suspect(body: bytes, value: object) -> bool:
    """False only if the body surely breaks none of the rules that orjson does not know.

    A duplicate key leaves the written-back document with fewer colons than the body. An escaped colon or NUL needs a
    ``\\u``, an integer beyond 64 bit nineteen digits, and each level of depth a bracket.
    """
    return (
        b"\\u" in body
        or body.count(b"{") + body.count(b"[") > DEEPEST  # first: what is deep cannot be written back at all
        or body.count(b":") != orjson.dumps(value).count(b":")
        or _LONG_NUMBER in body.translate(_DIGITS_TO_ZERO)
    )


def _check_closely(body: bytes) -> None:
    """The slow and literal check; only bodies that might break a rule come here."""
    try:
        value = json.loads(body, object_pairs_hook=_unique, parse_int=_bounded)
    except RecursionError:
        raise MalformedJson("The body is nested too deeply.") from None
    _walk(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("A key stands twice in one object.")
    return members


def _bounded(digits: str) -> int:
    if len(digits) > 20 or not _SMALLEST <= int(digits) <= _LARGEST:
        raise MalformedJson("An integer is beyond 64 bit.")
    return int(digits)


def _walk(value: object) -> None:
    """Depth and NUL, level by level instead of by recursion."""
    level: list[object] = [value]
    for _ in range(DEEPEST + 1):
        for text in level:
            if isinstance(text, str):
                _check_text(text)
        containers = [v for v in level if isinstance(v, dict | list)]
        if not containers:
            return
        level = [inner for container in containers for inner in _inside(container)]
    raise MalformedJson("The body is nested too deeply.")


def _inside(container: dict[Any, Any] | list[Any]) -> Iterable[object]:
    return chain(container.keys(), container.values()) if isinstance(container, dict) else container


def _check_text(text: str) -> None:
    if "\0" in text:
        raise MalformedJson("A string contains NUL.")
