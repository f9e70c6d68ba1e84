"""A change between two releases of a document: how heavy it is for clients, where it is, and what it is."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

Node = dict[str, Any]


class Weight(IntEnum):
    """What a change may do to a client that was written against the last release."""

    COMPATIBLE = 1
    WARNING = 2
    """It goes on working if it was written with care: for a value that it does not know, say."""
    BREAKING = 3


class Way(Enum):
    """Which way a value goes. What may be narrowed on one way may only be widened on the other."""

    ASKED = "asked"
    """From clients: whatever was taken has to be taken still."""
    ANSWERED = "answered"
    """To clients: whatever is told has to be what could be told before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """``place`` names an operation, a channel or a schema, with what is within it: `Product.price`."""

    weight: Weight
    place: str
    what: str


def breaking(place: str, what: str) -> Change:
    """A change that a client cannot be expected to bear."""
    return Change(weight=Weight.BREAKING, place=place, what=what)


def warning(place: str, what: str) -> Change:
    """A change that not every client bears."""
    return Change(weight=Weight.WARNING, place=place, what=what)


def compatible(place: str, what: str) -> Change:
    """A change that no client need notice."""
    return Change(weight=Weight.COMPATIBLE, place=place, what=what)


def resolved(document: Node, node: Any) -> Any:
    """The node that a chain of references leads to."""
    seen: set[str] = set()
    while isinstance(node, dict) and isinstance(reference := node.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        node = target(document, reference)
    return node


def target(document: Node, reference: str) -> Any:
    """What `#/components/schemas/Product` refers to. Raises ValueError where there is nothing, or in another file."""
    node: Any = document
    head, *names = reference.split("/")
    for name in names:
        key = name.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or key not in node:
            raise ValueError(f"{reference} leads nowhere")
        node = node[key]
    if head != "#":
        raise ValueError(f"{reference} is in another file")
    return node
