"""A Lua script and its digest: without the client that the library's own script is bound to."""

from hashlib import sha1


class Script:
    """A script and the digest by which Redis knows it."""

    __slots__ = ("digest", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
