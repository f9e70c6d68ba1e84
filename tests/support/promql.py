"""What an expression of Prometheus names: metrics, and the labels that it wants of each of them."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_RANGE: Final = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_GROUPED: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHED: Final = re.compile(r"([A-Za-z_:][\w:]*)?\s*\{([^}]*)\}")
_NAME: Final = re.compile(r"(?<![\w.])[A-Za-z_:][\w:]*")
_LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_WORDS: Final = frozenset({"and", "or", "unless", "bool", "by", "without", "on", "ignoring", "inf", "nan"})
_ADDED: Final = re.compile(r"\bsum\s*(?:by\s*\([^)]*\)\s*)?\(\s*([A-Za-z_:][\w:]*)\s*(?:\{[^}]*\})?\s*\)")


class Named(NamedTuple):
    """All metrics, the labels that some matcher asks for by metric, those that are grouped by, and what is summed as it
    is told."""

    metrics: frozenset[str]
    matched: tuple[tuple[str, str], ...]
    grouped: frozenset[str]
    added: frozenset[str]


def named(expression: str) -> Named:
    """What an expression names."""
    bare = _RANGE.sub("", _TEXT.sub('""', expression))
    grouped = frozenset(label.strip() for each in _GROUPED.findall(bare) for label in each.split(",") if label.strip())
    rest = _GROUPED.sub("", bare)
    added = frozenset(_ADDED.findall(bare))
    return Named(frozenset(_metrics(rest)), tuple(_matched(rest)), grouped, added)


def _metrics(rest: str) -> Iterator[str]:
    without_matchers = re.sub(r"\{[^}]*\}", "", rest)
    for found in _NAME.finditer(without_matchers):
        call = without_matchers[found.end() :].lstrip().startswith("(")
        if not call and found.group().lower() not in _WORDS:
            yield found.group()


def _matched(rest: str) -> Iterator[tuple[str, str]]:
    for metric, matchers in _MATCHED.findall(rest):
        for label in _LABEL.findall(matchers):
            yield metric, label
