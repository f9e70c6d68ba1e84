"""A document as it lies in Redis: its position and version in front of its bytes; no bytes stand for a deleted row."""

from dataclasses import dataclass

LEASED = b"?"
"""A value that begins so is no document but the mark of a reader that went to fetch one."""


@dataclass(frozen=True, slots=True)
class Document:
    """A row of a read model, ready to serve. ``body`` is empty if the row was deleted at ``position``.

    ``lasting``: it may be kept. One that was read from a server that may be behind is for those who wait for it alone.
    """

    position: int
    version: int
    body: bytes
    lasting: bool = True


def framed(document: Document) -> bytes:
    """``<position>|<version>|<body>``: the scripts compare the position, readers take the rest without parsing."""
    return b"%d|%d|%b" % (document.position, document.version, document.body)


def unframed(frame: bytes) -> Document:
    """The document of a frame. Raises ``ValueError``."""
    position, version, body = frame.split(b"|", 2)
    return Document(int(position), int(version), body)
