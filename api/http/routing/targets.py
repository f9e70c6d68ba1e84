"""Every route of an application as the edge's table holds it: where it is, what body it takes, how it is served."""

from collections.abc import Iterator

from fastapi import FastAPI, params
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic_core import PydanticUndefined

from api.http.body_reader import ANY_BODY, FORM_BODY, FORM_DATA, JSON_BODY, NOTHING, BodyPolicy
from api.http.fast_route import BODY_METHODS, Route
from api.http.policies.deprecation import deprecation_of
from api.http.route_table import Target, has_whole_segments
from api.http.routing.body_parser import BodyArgument, check_syntax, form_parser, json_parser
from api.http.routing.call_plan import can_be_planned, check_of, plan
from api.http.routing.dependant import Declared, Dependant, below, is_model
from api.rate_limits.policies import class_of
from api.schemas import NoBody, secrets_of

Body = tuple[BodyPolicy, BodyArgument | None]


def targets(app: FastAPI) -> Iterator[Target]:
    """All of them, each method by itself."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            yield from (_target(context, method) for method in context.methods or ())


def _target(context: RouteContext, method: str) -> Target:
    template, whole = context.path_format or "", has_whole_segments(context.path or "")
    dependant: Dependant = context.dependant
    ours = isinstance(context.original_route, Route)
    policy, body = _strict(context, method) if ours else _as_documented(context, method)
    deprecation = deprecation_of(context.endpoint)
    return Target(
        method=method,
        template=template,
        names=tuple(part[1:-1] for part in template.split("/") if part.startswith("{")),
        policy=policy,
        limit=class_of(context.endpoint, method),
        pattern=None if whole else context.path_regex,
        app=context.app,
        respond=plan(dependant, body, context.status_code or 200) if whole and _has_plan(context, body) else None,
        check=check_of(dependant, body),
        tell=getattr(context.endpoint, "tell_problem", None),
        deprecation_headers=deprecation.headers if deprecation else None,
    )


def _has_plan(context: RouteContext, body: BodyArgument | None) -> bool:
    dependant: Dependant = context.dependant
    route, fields = context.original_route, dependant.body_params
    known = not fields or (body is not None and body.name == fields[0].name)
    return isinstance(route, Route) and route.answers and known and can_be_planned(dependant)


def _as_documented(context: RouteContext, method: str) -> Body:
    """What a plain ``APIRoute`` takes: FastAPI looks at the media type, and parses."""
    marked: BodyPolicy | None = getattr(context.endpoint, "body_policy", None)
    return marked or (ANY_BODY if context.body_field is not None or method in BODY_METHODS else NOTHING), None


def _strict(context: RouteContext, method: str) -> Body:
    """What one of our routes takes: JSON, unless it says something else."""
    marked: BodyPolicy | None = getattr(context.endpoint, "body_policy", None)
    if context.body_field is not None:
        policy, body = _declared(context)
        return marked or policy, body
    if marked is not None:
        return marked, None
    if method in BODY_METHODS:
        return JSON_BODY, BodyArgument(None, json_parser(NoBody, None))
    return NOTHING, None


def _declared(context: RouteContext) -> Body:
    dependant: Dependant = context.dependant
    fields, whole = dependant.body_params, context.body_field.field_info
    one = len(fields) == 1 and not any(child.body_params for child in below(dependant))
    one = one and not getattr(fields[0].field_info, "embed", None)
    if not isinstance(whole, params.Form):
        return JSON_BODY, _argument(fields[0]) if one else BodyArgument(None, check_syntax)
    if one and not isinstance(whole, params.File) and is_model(fields[0].field_info.annotation):
        return FORM_BODY, _argument(fields[0], form=True)
    return FORM_DATA, None


def _argument(field: Declared, *, form: bool = False) -> BodyArgument:
    told = field.field_info
    default = PydanticUndefined if told.is_required() else told.get_default(call_default_factory=True)
    parser = (form_parser if form else json_parser)(told.annotation, default)
    return BodyArgument(field.name, parser, secrets_of(told.annotation))
