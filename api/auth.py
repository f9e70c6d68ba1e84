"""Who asks: from the ``Authorization`` header to a principal, and the dependencies by which endpoints demand scopes.

``Buyer = Annotated[Principal, Depends(require("orders:write"))]``; ``require()`` demands no more than a valid token.
RFC 6750 says how the refusals look.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Request, Security
from fastapi.openapi.models import OAuth2, OAuthFlowPassword, OAuthFlows
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from api.context import EXCHANGE, Exchange, Principal, identify
from api.deps import RESOURCES
from api.errors import Problem
from api.scopes import MEANINGS
from infra.tokens import InvalidToken, Tokens

_INVALID: Final = ((b"www-authenticate", b'Bearer realm="weir", error="invalid_token"'),)


async def authenticate(scope: Scope) -> Principal:
    """Who sent the request, by its bearer token; noted in the request's context.

    Raises :class:`~api.errors.Problem` ``unauthenticated`` when there is no good token.
    """
    exchange: Exchange = scope[EXCHANGE]
    token = _bearer(exchange.headers.get(b"authorization"))
    tokens: Tokens = scope["state"][RESOURCES][Tokens]
    try:
        access = tokens.remembered(token) or await tokens.verify(token)
    except InvalidToken:
        raise Problem("unauthenticated", headers=_INVALID) from None
    principal = Principal(id=access.account_id, scopes=access.scopes)
    identify(scope, principal)
    return principal


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

    def __init__(self) -> None:
        self.scheme_name = "accessToken"
        flow = OAuthFlowPassword(tokenUrl="/v1/auth/token", scopes=dict(MEANINGS))
        self.model = OAuth2(flows=OAuthFlows(password=flow))

    async def __call__(self, request: Request, needed: SecurityScopes) -> Principal:
        principal = await authenticate(request.scope)
        check_scopes(principal, frozenset(needed.scopes))
        return principal


_BEARER: Final = _BearerToken()


def require(*scopes: str) -> Callable[..., Coroutine[Any, Any, Principal]]:
    """A dependency that gives the principal, if they may do all that the scopes name."""
    for scope in scopes:
        MEANINGS[scope]  # a scope that nobody can have would lock the door for good

    async def principal(principal: Annotated[Principal, Security(_BEARER, scopes=scopes)]) -> Principal:
        return principal

    return principal
