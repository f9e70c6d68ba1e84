"""The pages that the links in mails open. Opening one uses nothing up, as mail scanners do; its form's button does.

The form carries the token back in its body and calls what the API's routes call. Nothing more is needed against forged
requests (CSRF): there is no cookie, and no other authority that a browser adds by itself. Whoever can write such a form
knows the token already, and the token is all that counts.
"""

import secrets
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs

from fastapi import Form, Query, Request
from pydantic import Field
from starlette.types import Scope

from api.commands.mailed_links import MailedLinksDep
from api.commands.recovery import LONGEST_TOKEN, Token
from api.errors import Problem
from api.http.accept_language import spoken
from api.http.fast_route import router
from api.http.request_context import EXCHANGE, RequestState, keyed
from api.http.response import RawResponse
from api.http.route_table import problems_told_by
from api.pages.page_library import page
from api.rate_limits.policies import limited
from api.schemas import Params, Secret
from domain.kernel.refusals import InvalidValue
from infra.identity.one_time_links import Purpose
from infra.identity.passwords import SHORTEST
from infra.locales import first_of

routes = router(tags=["accounts"])

IN_QUERY: Final = Query(max_length=LONGEST_TOKEN)

Complaint = Literal["weak", "unlike"]
Why = Literal["link", "pause", "running", "ours", "request"]


class LinkForm(Params):
    """What a page's form sends. By the key a button that is pressed twice does its work once, and shows it twice."""

    token: Token
    idempotency_key: str = Field(pattern="^[0-9a-f]{32}$")


class PasswordForm(LinkForm):
    """A new password, typed twice. Whether it is good enough is not for its form to say."""

    password: Secret
    again: Secret


def language_of(exchange: RequestState, scope: Scope) -> str:
    """The page's language: that of the link, else the one that the browser wants most."""
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("lang", [])
    header = exchange.headers.get(b"accept-language", b"").decode("latin-1")
    return first_of(*asked, spoken(header))


def why_refused(problem: Problem) -> Why:
    """What the refused page says: each is another paragraph in ``refused.html``."""
    match problem.kind.status:
        case 429:
            return "pause"
        case _ if problem.code in ("idempotency-key-in-flight", "outcome-unknown"):
            return "running"
        case status if status >= 500:
            return "ours"
        case 404 | 409 | 422:
            return "link"
        case _:
            return "request"


def told_in_words(problem: Problem, exchange: RequestState, scope: Scope) -> RawResponse:
    """A refusal as a page."""
    status, language, request_id = problem.kind.status, language_of(exchange, scope), exchange.request_id
    answer = page("refused", language, status, why=why_refused(problem), request_id=request_id)
    answer.headers.extend(problem.raw_headers)
    return answer


@routes.get("/verify-email", include_in_schema=False)
@limited("token")
@problems_told_by(told_in_words)
async def verification_page(
    request: Request, links: MailedLinksDep, token: Annotated[Secret, IN_QUERY] = ""
) -> RawResponse:
    """Asks for the press of a button."""
    await links.check(Purpose.VERIFY_EMAIL, token)
    return _form(request, Purpose.VERIFY_EMAIL, token)


@routes.post("/verify-email", include_in_schema=False)
@limited("token")
@problems_told_by(told_in_words)
async def verify(request: Request, form: Annotated[LinkForm, Form()], links: MailedLinksDep) -> RawResponse:
    """As ``POST /v1/auth/verify-email``."""
    keyed(request.scope, form.idempotency_key)
    await links.verify_email(form.token)
    return _page(request, Purpose.VERIFY_EMAIL, form=None)


@routes.get("/reset-password", include_in_schema=False)
@routes.get("/password-reset", include_in_schema=False)
@limited("token")
@problems_told_by(told_in_words)
async def password_page(
    request: Request, links: MailedLinksDep, token: Annotated[Secret, IN_QUERY] = ""
) -> RawResponse:
    """Asks for a new password."""
    await links.check(Purpose.RESET_PASSWORD, token)
    return _form(request, Purpose.RESET_PASSWORD, token)


@routes.post("/reset-password", include_in_schema=False)
@routes.post("/password-reset", include_in_schema=False)
@limited("token")
@problems_told_by(told_in_words)
async def reset(request: Request, form: Annotated[PasswordForm, Form()], links: MailedLinksDep) -> RawResponse:
    """As ``POST /v1/auth/password-reset/confirm``."""
    if form.password != form.again:
        return _form(request, Purpose.RESET_PASSWORD, form.token, "unlike")
    keyed(request.scope, form.idempotency_key)
    try:
        await links.reset_password(form.token, form.password)
    except InvalidValue as refusal:
        if refusal.pointer != "/password":
            raise
        return _form(request, Purpose.RESET_PASSWORD, form.token, "weak")
    return _page(request, Purpose.RESET_PASSWORD, form=None)


def _form(request: Request, purpose: Purpose, token: str, complaint: Complaint | None = None) -> RawResponse:
    """The page with its form, and with what was wrong with the last one."""
    form = {"token": token, "idempotency_key": secrets.token_hex(16)}
    words = {"complaint": complaint, "shortest": SHORTEST}
    return _page(request, purpose, 200 if complaint is None else 422, form=form, **words)


def _page(request: Request, purpose: Purpose, status: int = 200, **words: Any) -> RawResponse:
    return page(purpose, language_of(request.scope[EXCHANGE], request.scope), status, **words)
