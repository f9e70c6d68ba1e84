"""Codes of who asks, for what, how often and under which condition."""

from collections.abc import Mapping
from typing import Final

from api.problem_kinds.kind import Kind, challenge, kind, soon

ASKING: Final[Mapping[str, Kind]] = {
    "unauthenticated": challenge(
        "Unauthenticated",
        "Valid credentials are needed.",
        "There is no access token or API key, it has run out, or its session or account has ended.",
        "Exchange the refresh token at `/v1/auth/refresh`, or sign in again at `/v1/auth/token`.",
    ),
    "invalid-credentials": challenge(
        "Invalid credentials",
        "The name or the password is wrong.",
        "At sign-in no account goes by that name and password, or it is locked: which of them is not told.",
        "Check both. A forgotten password is replaced by way of `/v1/auth/password-reset`.",
    ),
    "token-reused": challenge(
        "Token reused",
        "This token was used before; its family is revoked.",
        "A refresh token came that was exchanged before: it may have been stolen, so its session has been ended.",
        "Sign in again, and keep the newest refresh token only.",
    ),
    "invalid-signature": challenge(
        "Invalid signature",
        "The signature is wrong or too old.",
        "A payment webhook is not signed by the secret that both sides know, or more than five minutes ago.",
        "Sign `id.timestamp.body` over the very bytes that are sent, with the right secret and a clock that is right.",
    ),
    "wrong-password": kind(
        403,
        "Wrong password",
        "The password is wrong. The session it was asked in goes on.",
        "A change that asks for the account's password came with another one.",
        "Ask for the password again; there is no need to sign in again.",
    ),
    "insufficient-scope": kind(
        403,
        "Insufficient scope",
        "The credentials do not reach this far.",
        "The credentials are good but lack a scope, the account lacks the role, or an API key asks what it may not.",
        "`WWW-Authenticate` names the scope where one is missing. Sign in with it, or as somebody who has it.",
    ),
    "foreign-origin": kind(
        403,
        "Foreign origin",
        "A page of that origin may open no socket here.",
        "A browser asks for a WebSocket on behalf of a page that is neither the API's own nor of an allowed origin.",
        "Operators allow origins in `WEIR_CORS_ORIGINS`. A client that is no browser sends no `Origin`.",
    ),
    "upgrade-required": Kind(
        426,
        "Upgrade required",
        "Here is a WebSocket, and the request was none that opens one.",
        ((b"connection", b"upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")),
        "A room's socket was asked for by a plain `GET`, in a version other than 13, or behind another request.",
        "Open it by a WebSocket client (RFC 6455), on a connection of its own.",
    ),
    "too-many-requests": soon(
        429,
        "Too many requests",
        "The rate limit is used up.",
        "More requests came within a time than the `RateLimit-Policy` header allows.",
        "Wait as many seconds as `Retry-After` says, and spread requests by what `RateLimit` says is left.",
    ),
    "too-many-streams": soon(
        429,
        "Too many streams",
        "The account has as many event streams open as it may.",
        "More streams of events are open at once, of one account at one server, than one may have.",
        "Close those that are not needed; one stream can tell of several orders.",
    ),
    "not-found": kind(
        404,
        "Not found",
        "There is no such thing here.",
        "No such path or thing exists, or it is somebody else's. What was only just written may take a moment to show.",
        "Check the id. Right after a write, send its `Consistency-Token` with the read.",
    ),
    "unknown-host": kind(
        421,
        "Misdirected request",
        "The Host header names no host that is served here.",
        "The server was asked under a name that is not among those it is set up for.",
        "Use the API's own address. Operators name further hosts in `WEIR_ALLOWED_HOSTS`.",
    ),
    "method-not-allowed": kind(
        405,
        "Method not allowed",
        "This path does not take that method.",
        "There is such a path, but not for this method.",
        "`Allow` names the methods that it takes.",
    ),
    "version-mismatch": kind(
        412,
        "Version mismatch",
        "The thing has changed since that version.",
        "`If-Match` names a version, and somebody has changed the thing since.",
        "Read it again, look at what has changed, and send the change with the new version.",
    ),
    "idempotency-key-reused": kind(
        422,
        "Idempotency key reused",
        "The key was used with another route or body.",
        "An `Idempotency-Key` of the last 24 hours came again with another request.",
        "Make a new key for each request, and repeat one only with the very same request.",
    ),
    "idempotency-key-in-flight": soon(
        409,
        "Idempotency key in flight",
        "The first request still runs.",
        "A request was repeated under its `Idempotency-Key` before it had been answered.",
        "Wait as many seconds as `Retry-After` says and repeat it: then you get the answer of the first.",
    ),
}
