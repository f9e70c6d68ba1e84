"""Schemas put in order for those who read them, and for programs that make clients of them."""

from collections.abc import Iterator
from typing import Any

Node = dict[str, Any]


def tidy(document: Node) -> None:
    """Each schema goes by its title; a field has none, as it would only repeat its name; whole numbers are whole."""
    schemas: dict[str, Node] = document["components"]["schemas"]
    names = {f"#/components/schemas/{name}": schema.get("title", name) for name, schema in schemas.items()}
    for node in _nodes(document):
        if (reference := node.get("$ref")) in names:
            node["$ref"] = f"#/components/schemas/{names[reference]}"
        for field in _members(node):
            field.pop("title", None)
        for name in ("minimum", "maximum"):
            if name in node and float(node[name]).is_integer():
                node[name] = int(node[name])
    document["components"]["schemas"] = {schema.get("title", name): schema for name, schema in sorted(schemas.items())}


def left_out(holder: Node) -> None:
    """What may be left out of a request is told as that, and not as what may be ``null`` or is empty then."""
    schema = holder.get("schema", {})
    if schema.get("default") == "":
        del schema["default"]
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    schema.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {})


def _members(node: Node) -> Iterator[Node]:
    """Fields of an object, what a list is of, and the schema of a parameter or a body."""
    properties = node.get("properties", {})
    if isinstance(properties, dict):
        yield from (field for field in properties.values() if isinstance(field, dict))
    for name in ("schema", "items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield node[name]


def _nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _nodes(each)
