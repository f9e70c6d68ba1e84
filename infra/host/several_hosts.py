"""URLs that may name several hosts, with commas between, as libpq, Sentinels and clusters have them."""

import re
from typing import Final
from urllib.parse import SplitResult

# RFC 3986, appendix B. Python's own takes a bracket behind a comma for a broken address, since it looks into brackets.
_PARTS: Final = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


def split(url: str) -> SplitResult:
    """The parts of the URL, as ``urllib.parse.urlsplit`` has them; ``netloc`` is looked at by nobody yet."""
    found = _PARTS.fullmatch(url)
    assert found is not None  # noqa: S101 - every text has this form
    scheme, *rest = (part or "" for part in found.groups())
    return SplitResult(scheme.lower(), *rest)
