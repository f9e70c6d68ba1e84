"""Visibility of a text: what of it can be seen, and which signs that show nothing may stand where."""

import re
from typing import Final
from unicodedata import category

# In a name nothing stands that shows nothing or turns its letters around (Unicode TS 39, 3.1): controls, marks of
# direction, and what is ignored by default (Default_Ignorable_Code_Point), but for the joiners and selectors below.
_INVISIBLE: Final = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
    "\U000e01f0-\U000e0fff\ud800-\udfff"
)
_SELECTING: Final = "\u180b-\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Joiners and variation selectors. They choose how the letter before them is written, where its script has a choice."""
_JOINED: Final = (
    "\u0600-\u0dff\u0f00-\u109f\u1780-\u18af\u1900-\u1cff\ua840-\uabff\ufb50-\ufdff\ufe70-\ufefc"
    "\U00010a00-\U00011fff\U0001e900-\U0001e95f"
)
"""The scripts of West Asia, India and its neighbours, whose letters join."""
_PICTURES: Final = (
    "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935\u2b00-\u2bff"
    "\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
)
_IDEOGRAPHS: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_NEVER: Final = re.compile(f"[{_INVISIBLE}]")
_HIDING: Final = re.compile(f"[{_INVISIBLE}{_SELECTING}]")
_HIDDEN: Final = re.compile(
    f"[{_INVISIBLE}]"
    # A joiner stands between letters that join (at the end of a word only ZWJ shows), ZWJ between pictures as well.
    f"|\u200c(?:(?<![{_JOINED}]\u200c)|(?![{_JOINED}]))"
    f"|\u200d(?:(?<![{_JOINED}{_PICTURES}\ufe0f]\u200d)|(?<=[{_PICTURES}\ufe0f]\u200d)(?![{_PICTURES}]))"
    # A selector stands behind what has variants: pictures and keys; ideographs, as in names of people; Mongolian.
    f"|[\ufe0e\ufe0f](?:(?<![{_PICTURES}0-9#*].)|(?<=[0-9#*].)(?!\u20e3))"
    f"|[\ufe00-\ufe0d\U000e0100-\U000e01ef](?<![{_IDEOGRAPHS}\u1000-\u109f].)"
    "|[\u180b-\u180f](?<![\u1820-\u18aa].)"
)
_EMPTY: Final = re.compile(f"[{_INVISIBLE}{_SELECTING}\u2800\U0001d159\U00013441\U00013442]")
"""What has no ink of its own."""


def is_visible(text: str) -> bool:
    """Whether nothing in a name hides, or turns around what is beside it."""
    return _HIDDEN.search(text) is None


def hides_nothing(text: str) -> bool:
    """Whether there is not even a joiner or a selector in it."""
    return _HIDING.search(text) is None


def is_legible(text: str) -> bool:
    """Whether it has no control, filler or mark of direction, wherever its joiners stand."""
    return _NEVER.search(text) is None


def is_blank(text: str) -> bool:
    """Whether there is nothing to be seen in it: no sign, and no letter that a mark could stand on."""
    return not text.strip() if text.isascii() else not any(map(_is_seen, text))


def _is_seen(char: str) -> bool:
    return category(char)[0] not in "ZM" and not char.isspace() and _EMPTY.match(char) is None
