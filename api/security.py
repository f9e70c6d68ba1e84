"""Authentication: from an access token or an API key to a principal, and dependencies that demand scopes.

``Buyer = Annotated[Principal, Depends(require("orders:write"))]``; ``require()`` demands no more than good credentials,
``in_session()`` those of somebody who has signed in. RFC 6750 says how the refusals look.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.openapi.models import APIKey, OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from api.errors import Problem
from api.http.principal import Principal
from api.http.request_context import EXCHANGE, EndedSince, Recall, RequestState, identify
from api.scopes import MEANINGS
from infra.identity.access_tokens import InvalidToken, Tokens
from infra.identity.api_keys import ApiKeys, InvalidApiKey
from infra.identity.revocations import Revocations
from infra.postgres.errors import PASSING

_INVALID: Final = ((b"www-authenticate", b'Bearer realm="weir", error="invalid_token"'),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The lifespan's state for telling who asks: ``request.state.identity``."""

    tokens: Tokens
    api_keys: ApiKeys
    revocations: Revocations


async def authenticate(scope: Scope, needed: frozenset[str], *, ended: Recall | None = None) -> Principal:
    """Who sent the request, by its access token or its API key, and may do what is needed; noted in its context.

    A token whose access has ended is refused. With ``ended`` and an idempotency key it is refused as
    :class:`~api.http.request_context.EndedSince`, so that the route may answer by that function instead of its
    endpoint: for what may have ended the access by its own success.

    Raises :class:`~api.errors.Problem` ``unauthenticated`` when neither is there and good, and ``malformed-request``
    when both are there (RFC 6750 section 3.1): which of them should count?
    """
    exchange: RequestState = scope[EXCHANGE]
    principal, over = await _who_asks(scope)
    if over and (ended is None or b"idempotency-key" not in exchange.headers):
        raise invalid_token()
    identify(scope, principal)
    check_scopes(principal, needed)
    if over and ended is not None:
        raise EndedSince(invalid_token(), ended)
    return principal


async def holds_still(scope: Scope, needed: frozenset[str]) -> bool:
    """Whether the credentials that a request was let in with would let it in now: for answers that take their time.

    While that cannot be asked, what was known goes on to count.
    """
    try:
        principal, over = await _who_asks(scope)
    except Problem:
        return False
    except PASSING:
        return True
    return not over and needed <= principal.scopes


async def _who_asks(scope: Scope) -> tuple[Principal, bool]:
    """Whose credentials came, and whether the access that they give has ended since."""
    exchange: RequestState = scope[EXCHANGE]
    given, key = exchange.headers.get(b"authorization"), exchange.headers.get(b"x-api-key")
    identity: Identity = scope["state"]["identity"]
    if key is None:
        return await _by_token(identity, _bearer(given))
    if given is None:
        return await _by_api_key(identity, key), False
    raise Problem("malformed-request", "Send an access token or an API key, not both.")


async def authenticate_token(identity: Identity, token: str) -> Principal:
    """Whose the access token is, that came in another way than by a header.

    Raises :class:`~api.errors.Problem` ``unauthenticated``, also for one whose access has ended.
    """
    principal, over = await _by_token(identity, token)
    if over:
        raise invalid_token()
    return principal


def holds_for_certain(identity: Identity, token: str, needed: frozenset[str]) -> bool:
    """Whether the access token is known to be good for that at this moment: look-ups, no waiting.

    Where it is not, :func:`authenticate_token` tells whether it is.
    """
    access = identity.tokens.remembered(token)
    return access is not None and needed <= access.scopes and not identity.revocations.ended(access)


async def _by_token(identity: Identity, token: str) -> tuple[Principal, bool]:
    """Whose it is, and whether its access has ended since.

    A token that was verified before is looked up, and whether its access has ended is looked up each time.
    """
    tokens = identity.tokens
    try:
        access = tokens.remembered(token) or await tokens.verify(token)
    except InvalidToken:
        raise invalid_token() from None
    principal = Principal(
        id=access.account_id,
        scopes=access.scopes,
        session_id=access.session_id,
        version=access.version,
        history=access.history,
    )
    return principal, identity.revocations.ended(access)


async def _by_api_key(identity: Identity, key: bytes) -> Principal:
    """Who a key speaks for was asked within the last second, and is asked anew once its account has changed since."""
    keys, revocations, text = identity.api_keys, identity.revocations, key.decode("latin-1")
    try:
        bearer = await keys.verify(text)
        if revocations.changed(bearer.account_id, bearer.version):
            bearer = await keys.verify(text, since=bearer.version)
    except InvalidApiKey:
        raise Problem("unauthenticated") from None
    if revocations.key_ended(bearer.key_id):
        raise Problem("unauthenticated")
    return Principal(id=bearer.account_id, scopes=bearer.scopes, version=bearer.version, api_key_id=bearer.key_id)


def invalid_token() -> Problem:
    """The refusal of a token that is not good, or no longer."""
    return Problem("unauthenticated", headers=_INVALID)


def _bearer(header: bytes | None) -> str:
    scheme, _, token = (header or b"").partition(b" ")
    if scheme.lower() != b"bearer":
        raise Problem("unauthenticated")
    return token.strip().decode("latin-1")


def check_scopes(principal: Principal, needed: frozenset[str]) -> None:
    """Raises ``insufficient-scope`` unless the principal has every scope needed."""
    if not needed <= principal.scopes:
        scope = " ".join(sorted(needed)).encode("ascii")
        challenge = b'Bearer realm="weir", error="insufficient_scope", scope="%b"' % scope
        raise Problem("insufficient-scope", headers=((b"www-authenticate", challenge),))


class _BearerToken(SecurityBase):
    """The scheme as the OpenAPI document shows it, and the dependency that enforces it."""

    def __init__(self, ended: Recall | None = None) -> None:
        self._ended = ended
        self.scheme_name = "accessToken"
        flow = OAuthFlowPassword(tokenUrl="/v1/auth/token", scopes=dict(MEANINGS))
        self.model = OAuth2(
            flows=OAuthFlows(password=flow),
            description="An access token of `/v1/auth/token`, as `Authorization: Bearer <token>`.",
        )

    async def __call__(self, request: Request, needed: SecurityScopes) -> Principal:
        return await authenticate(request.scope, frozenset(needed.scopes), ended=self._ended)


class _ApiKey(SecurityBase):
    """The other scheme, for the OpenAPI document alone: whichever credentials come are looked at in one place."""

    def __init__(self) -> None:
        self.scheme_name = "apiKey"
        self.model = APIKey.model_validate(
            {"in": "header", "name": "X-API-Key", "description": "An API key of `/v1/me/api-keys`."}
        )

    async def __call__(self) -> None:
        return None


_BEARER: Final = _BearerToken()
_API_KEY: Final = _ApiKey()


def require(*scopes: str, ended: Recall | None = None) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that gives the principal, if they may do all that the scopes name; ``ended`` as above."""
    for scope in scopes:
        MEANINGS[scope]  # a scope that nobody can have would lock the door for good
    bearer = _BEARER if ended is None else _BearerToken(ended)

    async def principal(
        principal: Annotated[Principal, Security(bearer, scopes=scopes)],
        _: Annotated[None, Depends(_API_KEY)],
    ) -> Principal:
        return principal

    return principal


def in_session(*, ended: Recall | None = None) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that gives the principal, if they have signed in; ``ended`` as above.

    An API key must not reach what keeps an account: whoever found one could make it theirs for good.
    """
    bearer = _BEARER if ended is None else _BearerToken(ended)

    async def principal(principal: Annotated[Principal, Security(bearer)]) -> Principal:
        if principal.session_id is None:
            raise Problem("insufficient-scope", "An API key does not reach this; sign in.")
        return principal

    return principal
