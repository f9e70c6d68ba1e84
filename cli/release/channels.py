"""The comparison of two releases of an AsyncAPI document, channel by channel and message by message."""

from collections.abc import Iterator
from typing import Final

from cli.release.change import Change, Node, Way, breaking, compatible, resolved
from cli.release.schemas import Schemas

WAYS: Final = {"send": Way.ANSWERED, "receive": Way.ASKED}
"""By what the shop does with a message."""


def compared(before: Node, after: Node) -> Iterator[Change]:
    """Every change of every channel, and of what is told and heard there."""
    schemas = Schemas(before, after)
    old, new = before.get("channels", {}), after.get("channels", {})
    for name, channel in old.items():
        place = f"channel {name}"
        if name not in new:
            yield breaking(place, "is gone")
            continue
        for part in ("address", "bindings", "servers"):
            if channel.get(part) != new[name].get(part):
                yield breaking(place, f"its {part} has changed")
    for name in sorted(new.keys() - old.keys()):
        yield compatible(f"channel {name}", "is new")
    yield from _operations(before, after, schemas)


def _operations(before: Node, after: Node, schemas: Schemas) -> Iterator[Change]:
    """By channel and direction; what an operation is called is nobody's affair."""
    old, new = _exchanged(before), _exchanged(after)
    for (channel, action), messages in old.items():
        if channel not in after.get("channels", {}):
            continue
        now = new.get((channel, action), {})
        place = f"channel {channel}"
        for name in messages.keys() - now.keys():
            yield breaking(f"{place} {name}", "is told no more" if action == "send" else "is not taken any more")
        for name in now.keys() - messages.keys():
            yield compatible(f"{place} {name}", "is new")
        for name in messages.keys() & now.keys():
            yield from _message(messages[name], now[name], name, WAYS[action], schemas)


def _exchanged(document: Node) -> dict[tuple[str, str], dict[str, Node]]:
    """The messages of each channel and direction, by their names in the channel."""
    found: dict[tuple[str, str], dict[str, Node]] = {}
    for operation in document.get("operations", {}).values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        told = operation.get("messages")
        names = (
            [each["$ref"].rpartition("/")[2] for each in told]
            if told is not None
            else document["channels"][channel].get("messages", ())
        )
        messages = document["channels"][channel].get("messages", {})
        here = found.setdefault((channel, operation["action"]), {})
        here.update({name: resolved(document, messages[name]) for name in names})
    return found


def _message(old: Node, new: Node, place: str, way: Way, schemas: Schemas) -> Iterator[Change]:
    for part in ("name", "contentType", "correlationId"):
        if old.get(part) != new.get(part):
            yield breaking(place, f"its {part} has changed")
    for part in ("headers", "payload"):
        inner = place if part == "payload" else f"{place} {part}"
        yield from schemas.compared(old.get(part, {}), new.get(part, {}), inner, way)
