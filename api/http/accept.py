"""Which form of an answer a client wants where there is another beside the JSON: a page for people, or events as they
come (RFC 9110, 12.5.1).
"""

import re
from functools import lru_cache
from typing import Final

LONGEST: Final = 500
VARIES: Final = (b"vary", b"accept")
"""What every answer says that would have had another form for another client (RFC 9110, 12.5.5)."""

_WEIGHT: Final = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_PAGE: Final = (b"text/html", b"text/*", b"*/*")
_JSON: Final = (b"application/json", b"application/*", b"*/*")
_EVENTS: Final = (b"text/event-stream",)
"""They never end: who has not named them does not mean them."""


@lru_cache(256)
def prefers_html(accept: bytes) -> bool:
    """Whether HTML is wanted more than JSON. Whoever takes both alike gets JSON: so do programs that say nothing."""
    wishes = _wishes(accept)
    return _weight(wishes, _PAGE) > _weight(wishes, _JSON)


@lru_cache(256)
def prefers_events(accept: bytes) -> bool:
    """Whether server-sent events are wanted no less than JSON."""
    wishes = _wishes(accept)
    return _weight(wishes, _EVENTS) >= max(_weight(wishes, _JSON), 0.001)


def _wishes(accept: bytes) -> dict[bytes, float]:
    """How much each media type is wanted; nothing is made of a header that is absurdly long."""
    wishes: dict[bytes, float] = {}
    if len(accept) > LONGEST:
        return wishes
    for part in accept.lower().split(b","):
        media, *parameters = (each.strip() for each in part.split(b";"))
        weights = [found[1] for each in parameters if (found := _WEIGHT.fullmatch(each))]
        wishes[media] = float(weights[0]) if weights else 1.0
    return wishes


def _weight(wishes: dict[bytes, float], names: tuple[bytes, ...]) -> float:
    """By the most exact of the names that is there."""
    return next((wishes[name] for name in names if name in wishes), 0.0)
