"""What changes of routes, credentials, channels and messages do to clients, each by a small document that has one."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from cli.release import channels, kept, operations
from cli.release.change import Change, Node

DOCS: Final = Path(__file__).parents[3] / "docs"
NOW: Final[Mapping[str, Node]] = kept.current(DOCS)
COMPARED: Final[Mapping[str, Callable[[Node, Node], Iterator[Change]]]] = {
    "openapi": operations.compared,
    "asyncapi": channels.compared,
}

TEXT: Final[Node] = {"type": "string"}

SHOP: Final[Node] = {
    "paths": {
        "/things/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": TEXT}],
            "get": {
                "operationId": "read_thing",
                "parameters": [
                    {"name": "sort", "in": "query", "schema": TEXT},
                    {"name": "X-Wait", "in": "header", "schema": TEXT},
                ],
                "responses": {
                    "200": {
                        "headers": {"ETag": {"schema": TEXT}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                    },
                    "404": {"$ref": "#/components/responses/not-found"},
                },
                "security": [{"token": ["read"]}, {"key": []}],
            },
            "put": {
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {"204": {}},
            },
        }
    },
    "components": {
        "schemas": {"Thing": {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}},
        "responses": {"not-found": {"content": {"application/problem+json": {"schema": {"type": "object"}}}}},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}, "key": {"type": "apiKey", "name": "X-Key"}},
    },
}
PATH: Final = "/things/{id}"


def read(shop: Node) -> Node:
    """Its operation that reads."""
    operation: Node = shop["paths"][PATH]["get"]
    return operation


def write(shop: Node) -> Node:
    operation: Node = shop["paths"][PATH]["put"]
    return operation


def thing(shop: Node) -> Node:
    schema: Node = shop["components"]["schemas"]["Thing"]
    return schema


def renamed(shop: Node) -> None:
    """An argument of a path goes by another name; its place is the same."""
    item = shop["paths"]["/things/{thing}"] = shop["paths"].pop(PATH)
    item["parameters"][0]["name"] = "thing"


ROUTES: Final[list[tuple[str, Callable[[Node], Any], list[tuple[str, str]]]]] = [
    ("a path is gone", lambda s: s["paths"].clear(), [("BREAKING", "GET " + PATH), ("BREAKING", "PUT " + PATH)]),
    ("a method is gone", lambda s: s["paths"][PATH].pop("put"), [("BREAKING", "PUT " + PATH)]),
    ("a method is new", lambda s: s["paths"][PATH].update(post={}), [("COMPATIBLE", "POST " + PATH)]),
    ("an argument is called otherwise", renamed, []),
    ("it has another name", lambda s: read(s).update(operationId="x"), [("WARNING", f"GET {PATH}")]),
    ("it is deprecated", lambda s: read(s).update(deprecated=True), [("COMPATIBLE", f"GET {PATH}")]),
    ("it is said otherwise", lambda s: read(s).update(summary="x", description="y", tags=["z"]), []),
    ("a parameter is gone", lambda s: read(s)["parameters"].pop(0), [("BREAKING", f"GET {PATH} query sort")]),
    (
        "a parameter is elsewhere",
        lambda s: read(s)["parameters"][0].update({"in": "header"}),
        [("BREAKING", f"GET {PATH} query sort"), ("COMPATIBLE", f"GET {PATH} header sort")],
    ),
    ("a header is spelt otherwise", lambda s: read(s)["parameters"][1].update(name="x-wait"), []),
    (
        "a parameter has to be there",
        lambda s: read(s)["parameters"][0].update(required=True),
        [("BREAKING", f"GET {PATH} query sort")],
    ),
    (
        "a parameter is new",
        lambda s: read(s)["parameters"].append({"name": "q", "in": "query"}),
        [("COMPATIBLE", f"GET {PATH} query q")],
    ),
    (
        "a parameter is new, and has to be there",
        lambda s: read(s)["parameters"].append({"name": "q", "in": "query", "required": True}),
        [("BREAKING", f"GET {PATH} query q")],
    ),
    (
        "a parameter takes less",
        lambda s: read(s)["parameters"][0].update(schema={"enum": ["a", "b"]}),
        [("BREAKING", f"GET {PATH} query sort")],
    ),
    (
        "a parameter is written otherwise",
        lambda s: read(s)["parameters"][0].update(explode=False),
        [("BREAKING", f"GET {PATH} query sort")],
    ),
    ("a body is gone", lambda s: write(s).pop("requestBody"), [("BREAKING", f"PUT {PATH} body")]),
    (
        "a body has to be there",
        lambda s: write(s)["requestBody"].update(required=True),
        [("BREAKING", f"PUT {PATH} body")],
    ),
    (
        "a body is new, and has to be there",
        lambda s: read(s).update(requestBody={"required": True, "content": {}}),
        [("BREAKING", f"GET {PATH} body")],
    ),
    ("a body may come along", lambda s: read(s).update(requestBody={}), [("COMPATIBLE", f"GET {PATH} body")]),
    (
        "a body is of another kind",
        lambda s: write(s)["requestBody"].update(content={"text/csv": {}}),
        [("BREAKING", f"PUT {PATH} body application/json"), ("COMPATIBLE", f"PUT {PATH} body text/csv")],
    ),
    (
        "it answers another status",
        lambda s: read(s)["responses"].update({"201": read(s)["responses"].pop("200")}),
        [("BREAKING", f"GET {PATH} 200"), ("WARNING", f"GET {PATH} 201")],
    ),
    ("it is refused no more", lambda s: read(s)["responses"].pop("404"), [("WARNING", f"GET {PATH} 404")]),
    ("it may be refused", lambda s: read(s)["responses"].update({"409": {}}), [("WARNING", f"GET {PATH} 409")]),
    (
        "a header of the answer is gone",
        lambda s: read(s)["responses"]["200"].pop("headers"),
        [("BREAKING", f"GET {PATH} 200 ETag")],
    ),
    (
        "an answer is of another kind",
        lambda s: read(s)["responses"]["200"].update(content={"text/html": {}}),
        [("BREAKING", f"GET {PATH} 200 application/json"), ("COMPATIBLE", f"GET {PATH} 200 text/html")],
    ),
    (
        "a refusal is told otherwise",
        lambda s: s["components"]["responses"]["not-found"].update(content={}),
        [("BREAKING", f"GET {PATH} 404 application/problem+json")],
    ),
    ("a field may be left out", lambda s: thing(s).pop("required"), [("BREAKING", "Thing.name")]),
    ("a field of both is gone", lambda s: thing(s).update(properties={}, required=[]), [("BREAKING", "Thing.name")]),
    (
        "a field has to be sent, which is always told",
        lambda s: thing(s).update(properties={"name": TEXT, "size": TEXT}, required=["name", "size"]),
        [("COMPATIBLE", "Thing.size"), ("BREAKING", "Thing.size")],
    ),
    ("it wants credentials", lambda s: write(s).update(security=[{"key": []}]), [("BREAKING", f"PUT {PATH}")]),
    (
        "it wants credentials, as all do",
        lambda s: s.update(security=[{"key": []}]),
        [("BREAKING", f"PUT {PATH}")],
    ),
    (
        "it wants more rights",
        lambda s: read(s).update(security=[{"token": ["read", "write"]}, {"key": []}]),
        [("BREAKING", f"GET {PATH}")],
    ),
    (
        "it takes fewer credentials",
        lambda s: read(s).update(security=[{"token": ["read"]}]),
        [("BREAKING", f"GET {PATH}")],
    ),
    ("it takes more credentials", lambda s: read(s)["security"].append({"other": []}), []),
    ("it wants fewer rights", lambda s: read(s).update(security=[{"token": []}, {"key": []}]), []),
    ("it is for all", lambda s: read(s).update(security=[]), []),
    (
        "credentials are shown otherwise",
        lambda s: s["components"]["securitySchemes"]["key"].update(name="X-Api-Key"),
        [("BREAKING", "securitySchemes key")],
    ),
]

NEWS: Final[Node] = {
    "channels": {
        "room": {
            "address": "/room",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in ("said", "say")},
        }
    },
    "operations": {
        "tell": {
            "action": "send",
            "channel": {"$ref": "#/channels/room"},
            "messages": [{"$ref": "#/channels/room/messages/said"}],
        },
        "hear": {
            "action": "receive",
            "channel": {"$ref": "#/channels/room"},
            "messages": [{"$ref": "#/channels/room/messages/say"}],
        },
    },
    "components": {
        "messages": {
            name: {"name": name, "payload": {"type": "object", "properties": {"text": TEXT}, "required": ["text"]}}
            for name in ("said", "say")
        }
    },
}


def payload(news: Node, name: str) -> Node:
    told: Node = news["components"]["messages"][name]["payload"]
    return told


MESSAGES: Final[list[tuple[str, Callable[[Node], Any], list[tuple[str, str]]]]] = [
    ("a channel is gone", lambda n: n.update(channels={}, operations={}), [("BREAKING", "channel room")]),
    ("a channel is elsewhere", lambda n: n["channels"]["room"].update(address="/r"), [("BREAKING", "channel room")]),
    ("a channel is new", lambda n: n["channels"].update(other={}), [("COMPATIBLE", "channel other")]),
    ("a message is told no more", lambda n: n["operations"].pop("tell"), [("BREAKING", "channel room said")]),
    ("a message is not taken", lambda n: n["operations"].pop("hear"), [("BREAKING", "channel room say")]),
    ("an operation has another name", lambda n: n["operations"].update(t=n["operations"].pop("tell")), []),
    (
        "a message has another name",
        lambda n: n["components"]["messages"]["said"].update(name="told"),
        [("BREAKING", "said")],
    ),
    (
        "a field that is told is gone",
        lambda n: payload(n, "said").update(properties={}, required=[]),
        [("BREAKING", "said.text")],
    ),
    ("a field that is told may be left out", lambda n: payload(n, "said").pop("required"), [("BREAKING", "said.text")]),
    ("a field that is said may be left out", lambda n: payload(n, "say").pop("required"), []),
    ("a told text is longer", lambda n: payload(n, "said")["properties"].update(text={}), [("BREAKING", "said.text")]),
    ("a field is told beside", lambda n: payload(n, "said")["properties"].update(at=TEXT), [("COMPATIBLE", "said.at")]),
    ("a field has to be said", lambda n: payload(n, "say")["required"].append("at"), [("BREAKING", "say.at")]),
    (
        "a header is told no more",
        lambda n: n["components"]["messages"]["said"].update(headers={"type": "object"}),
        [],
    ),
]


def weighed(found: Iterator[Change]) -> set[tuple[str, str]]:
    return {(change.weight.name, change.place) for change in found}


@pytest.mark.parametrize(("change", "expected"), [kind[1:] for kind in ROUTES], ids=[kind[0] for kind in ROUTES])
def test_each_change_of_a_route_weighs_what_it_does_to_clients(
    change: Callable[[Node], Any], expected: list[tuple[str, str]]
) -> None:
    after = deepcopy(SHOP)
    change(after)
    assert weighed(operations.compared(SHOP, after)) == set(expected)


@pytest.mark.parametrize(("change", "expected"), [kind[1:] for kind in MESSAGES], ids=[kind[0] for kind in MESSAGES])
def test_each_change_of_a_message_weighs_what_it_does_to_who_hears_it(
    change: Callable[[Node], Any], expected: list[tuple[str, str]]
) -> None:
    after = deepcopy(NEWS)
    change(after)
    assert weighed(channels.compared(NEWS, after)) == set(expected)


def test_a_route_that_goes_is_told_by_whether_anybody_was_warned() -> None:
    before = deepcopy(SHOP)
    read(before).update({"deprecated": True, "x-sunset": "2027-06-01"})
    told = {change.place: change.what for change in operations.compared(before, {"paths": {}})}
    assert told == {
        f"GET {PATH}": "is gone; it was to stay until 2027-06-01",
        f"PUT {PATH}": "is gone, and was not deprecated",
    }


@pytest.mark.parametrize("name", COMPARED)
def test_a_document_has_no_change_against_itself(name: str) -> None:
    assert list(COMPARED[name](NOW[name], NOW[name])) == []


@pytest.mark.parametrize("name", COMPARED)
def test_nothing_that_clients_rely_on_is_left_out_of_what_is_kept(name: str, tmp_path: Path) -> None:
    for each, document in NOW.items():
        (tmp_path / f"{each}.json").write_bytes(orjson.dumps(document))
    kept.keep(tmp_path, (1, 2, 3))
    was = kept.released(tmp_path, (1, 2, 3))[name]
    assert list(COMPARED[name](was, NOW[name])) == list(COMPARED[name](NOW[name], was)) == []
    assert len(orjson.dumps(was)) < len(orjson.dumps(NOW[name])) * 0.6


def test_every_operation_and_every_message_is_missed_when_it_goes() -> None:
    shop, news = NOW["openapi"], deepcopy(NOW["asyncapi"])
    paths = shop["paths"].items()
    routes = {("BREAKING", f"{method.upper()} {path}") for path, item in paths for method in item}
    assert weighed(operations.compared(shop, {**shop, "paths": {}})) == routes
    for operation in news["operations"].values():
        operation["messages"] = []
    rooms = NOW["asyncapi"]["channels"].items()
    messages = {("BREAKING", f"channel {name} {message}") for name, room in rooms for message in room["messages"]}
    assert weighed(channels.compared(NOW["asyncapi"], news)) == messages
