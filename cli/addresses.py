"""What a person is told of where things are, without the secrets that lead there."""

from urllib.parse import urlsplit


def place_of(url: str) -> str:
    """Host, port and database of a server's URL; neither its user nor its password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path
