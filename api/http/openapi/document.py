"""The document as a whole: what stands at its head, and each operation told of in full."""

from collections.abc import Callable, Iterator, Mapping
from inspect import getdoc
from threading import Lock
from typing import Any, Final

from anyio import to_thread
from fastapi import FastAPI, Request

from api.http.fast_route import router
from api.http.openapi.facts import Facts, Operation, facts_of
from api.http.openapi.headers import HEADERS, PARAMETERS, answered, asked
from api.http.openapi.problems import codes_of, components, tell_problems
from api.http.openapi.sentences import sentences_of, sentences_within
from api.http.openapi.shapes import left_out, tidy
from api.http.policies.deprecation import Deprecation
from api.http.response import RawResponse, json_answer
from api.rate_limits.policies import limited
from api.schemas import ReceiptDocument

METADATA: Final[dict[str, Any]] = {
    "title": "Weir",
    "version": "0.1.0",
    "summary": "An event-driven shop: commands are events, reads are documents.",
    "description": "A write answers with a receipt. Send its `Consistency-Token` with a read that must include it, and"
    " an `Idempotency-Key` with every write, so that it can be repeated. Each answer carries `X-Request-ID`; each"
    " refusal is a problem document whose `code` is explained at `/problems/<code>`.",
    "openapi_url": None,
    "docs_url": None,
    "redoc_url": None,
    "redirect_slashes": False,
    # Requests are counted and logged by the edge. Asking OpenTelemetry whether somebody listens costs 10 µs of each.
    "telemetry": {"tracing": False, "metrics": False, "logs": False},
    "openapi_tags": [
        {"name": "accounts", "description": "Who shops here: registering, signing in, API keys, roles."},
        {"name": "catalogue", "description": "What is sold, and how much of it there is."},
        {"name": "orders", "description": "What was ordered, paid, shipped."},
        {"name": "rooms", "description": "What people say to each other, and who is there."},
        {"name": "dashboard", "description": "The shop in figures."},
        {"name": "webhooks", "description": "Events sent to addresses of one's own (Standard Webhooks)."},
        {"name": "events", "description": "The log itself."},
        {"name": "operations", "description": "Whether the process lives and works, and its metrics."},
        {"name": "problems", "description": "What refusals mean, and what to do about them."},
    ],
}

Examples = Mapping[Any, Any]
"""An example for each model of a body or an answer, and for each media type that is no JSON."""

KIB: Final = 1024
MIB: Final = 1024 * KIB

routes = router(tags=["operations"])


@routes.get("/openapi.json", include_in_schema=False)
@limited("public")
async def openapi_document(request: Request) -> RawResponse:
    """The description of every route."""
    return json_answer(await to_thread.run_sync(request.app.openapi))  # making it takes a second


def describe(app: FastAPI, examples: Callable[[], Examples] = dict) -> FastAPI:
    """Make the application's description tell what the edge does to every route. It is made when first asked for."""
    plain, making = app.openapi, Lock()

    def openapi() -> dict[str, Any]:
        with making:  # nobody is shown one that is half told
            if app.openapi_schema is None:
                _tell(app, plain(), examples())
            return app.openapi_schema or plain()

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _tell(app: FastAPI, document: dict[str, Any], examples: Examples) -> None:
    shapes: set[Any] = set()
    for facts, operation in facts_of(app, document):
        shapes |= {facts.body, facts.model}
        _tell_request(facts, operation, examples)
        _tell_success(facts, operation["responses"], examples)
        tell_problems(operation, codes_of(facts))
        if facts.deprecation is not None:
            _tell_deprecation(facts.deprecation, operation)
    parts = document.setdefault("components", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        parts.setdefault("schemas", {}).pop(unused, None)
    for name, more in {"headers": HEADERS, "parameters": PARAMETERS, **components()}.items():
        parts.setdefault(name, {}).update(more)
    tidy(document)
    for title, sentences in sentences_within(shapes).items():
        for name, field in parts["schemas"].get(title, {}).get("properties", {}).items():
            if name in sentences:
                field.setdefault("description", sentences[name])


def _tell_request(facts: Facts, operation: Operation, examples: Examples) -> None:
    parameters = operation.setdefault("parameters", [])
    sentences = {name: said for kind in facts.queries for name, said in sentences_of(kind).items()}
    for each in parameters:
        left_out(each)
        if each["name"] in sentences:
            each.setdefault("description", sentences[each["name"]])
        if each["in"] == "path":
            each.setdefault("description", f"The {each['name'].removesuffix('_id').replace('_', ' ')}'s id.")
    parameters += asked(_headers_of_request(facts))
    if not parameters:
        del operation["parameters"]
    if body := operation.get("requestBody"):
        body.setdefault("description", f"At most {_size(facts.policy.limit)}.")
        for media, content in body["content"].items():
            left_out(content)
            _give_example(content, examples, facts.body, media)


def _tell_success(facts: Facts, responses: dict[str, Any], examples: Examples) -> None:
    success = responses[str(facts.status)]
    if success["description"] == "Successful Response":
        said = "Done. There is nothing more to tell." if facts.model is None else getdoc(facts.model) or ""
        success["description"] = said.partition("\n")[0]
    for media, content in success.get("content", {}).items():
        _give_example(content, examples, (media, facts.model), facts.model, media)
    if told := answered(_headers_of_success(facts)):
        success["headers"] = told
    if facts.has_a_tag:
        responses["304"] = {"description": "Not modified: the client's copy is good."}


def _tell_deprecation(deprecation: Deprecation, operation: Operation) -> None:
    """`x-sunset` is what tools that compare documents know: they let a route go that has said so for long enough."""
    operation["deprecated"] = True
    operation["x-sunset"] = deprecation.sunset.isoformat()
    told = f"Deprecated since {deprecation.since}; it stays until {deprecation.sunset} at least: <{deprecation.link}>"
    operation["description"] = "\n\n".join(filter(None, (operation.get("description"), told)))


def _give_example(content: dict[str, Any], examples: Examples, *keys: Any) -> None:
    """By its model, else by its media type."""
    found = next((examples[key] for key in keys if key in examples), None)
    if found is not None:
        content["example"] = found


def _headers_of_success(facts: Facts) -> Iterator[str]:
    if facts.makes_something:
        yield "Location"
    if facts.has_a_tag or facts.answers_with(ReceiptDocument):
        yield "ETag"
    if facts.answers_with(ReceiptDocument):
        yield "Consistency-Token"
    if facts.is_keyed:
        yield "Idempotency-Replayed"
    if facts.is_list or facts.deprecation:
        yield "Link"
    if facts.deprecation:
        yield from ("Deprecation", "Sunset")


def _headers_of_request(facts: Facts) -> Iterator[str]:
    if facts.is_keyed:
        yield "Idempotency-Key"
    if facts.is_conditional:
        yield "If-Match"
    if facts.waits:
        yield from ("Consistency-Token", "Prefer")
    if facts.has_a_tag:
        yield "If-None-Match"


def _size(limit: int) -> str:
    return f"{limit // MIB} MiB" if limit >= MIB else f"{limit // KIB} KiB"
