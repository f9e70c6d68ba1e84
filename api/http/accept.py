"""Which form of an answer a client wants where there is a page for people beside the JSON (RFC 9110, 12.5.1)."""

import re
from functools import lru_cache
from typing import Final

LONGEST: Final = 500

_WEIGHT: Final = re.compile(rb"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_PAGE: Final = (b"text/html", b"text/*", b"*/*")
_JSON: Final = (b"application/json", b"application/*", b"*/*")


@lru_cache(256)
def prefers_html(accept: bytes) -> bool:
    """Whether HTML is wanted more than JSON. Whoever takes both alike gets JSON: so do programs that say nothing."""
    if len(accept) > LONGEST:
        return False
    wishes: dict[bytes, float] = {}
    for part in accept.lower().split(b","):
        media, *parameters = (each.strip() for each in part.split(b";"))
        weights = [found[1] for each in parameters if (found := _WEIGHT.fullmatch(each))]
        wishes[media] = float(weights[0]) if weights else 1.0
    return _weight(wishes, _PAGE) > _weight(wishes, _JSON)


def _weight(wishes: dict[bytes, float], names: tuple[bytes, ...]) -> float:
    """By the most exact of the names that is there."""
    return next((wishes[name] for name in names if name in wishes), 0.0)
