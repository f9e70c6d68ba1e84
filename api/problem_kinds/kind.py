"""What one problem code means, and how it is told."""

from typing import NamedTuple


class Kind(NamedTuple):
    """How a code is told to clients. ``detail`` is what is said when the cause has nothing more exact to say.

    ``when`` says when it comes, and ``remedy`` what whoever gets it can do: `/problems/<code>` shows both.
    """

    status: int
    title: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    when: str = ""
    remedy: str = ""


def kind(status: int, title: str, detail: str, when: str, remedy: str) -> Kind:
    """A refusal."""
    return Kind(status, title, detail, (), when, remedy)


def challenge(title: str, detail: str, when: str, remedy: str) -> Kind:
    """A refusal that says how to authenticate."""
    return Kind(401, title, detail, ((b"www-authenticate", b'Bearer realm="weir"'),), when, remedy)


def soon(status: int, title: str, detail: str, when: str, remedy: str) -> Kind:
    """A refusal that passes by itself."""
    return Kind(status, title, detail, ((b"retry-after", b"1"),), when, remedy)
