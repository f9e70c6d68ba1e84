"""Bytes as text for addresses (RFC 4648, 5), without padding: each value has one text, and no other is read."""

from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(value: bytes) -> str:
    """The text."""
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes. Raises ValueError for what :func:`encode` would not have written.

    Python's own decoder passes over foreign characters, padding and bits that count for nothing (RFC 4648, 3.3 to 3.5).
    """
    try:
        value = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        value = b""
    if encode(value) != text:
        raise ValueError("not the one text of any bytes")
    return value
