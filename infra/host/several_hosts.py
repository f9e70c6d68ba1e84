"""URLs that may name several hosts, with commas between, as libpq, Sentinels and clusters have them."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_NETLOC: Final = re.compile(r"(?<=//)[^/?#]*")


def split(url: str) -> SplitResult:
    """As ``urllib.parse.urlsplit``, which is shown one host after the other: newer ones take a bracket behind a comma
    for a broken address. Raises ``ValueError`` where that does.
    """
    found = _NETLOC.search(url)
    credentials, at, hosts = found[0].rpartition("@") if found else ("", "", "")
    if found is None or "," not in hosts:
        return urlsplit(url)
    shown = [
        urlsplit(f"{url[: found.start()]}{credentials}{at}{each}{url[found.end() :]}") for each in hosts.split(",")
    ]
    return shown[0]._replace(netloc=found[0])
