"""The table of attacks: each with the answer it must get, and the source that says so."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from infra.settings import Settings
from tests.attacks.house import PASSWORD, House, house, one_of, placed, registered, webhook
from tests.conftest import SHARDS, Servers
from tests.support.pictures import jpeg, png, segment, webp
from tests.support.serving import connected
from tests.support.write_side import eventually

pytestmark = pytest.mark.anyio

Answer = httpx2.Response | int
Play = Callable[[House], Awaitable[Answer]]


class Attack(NamedTuple):
    """What is tried, whose rule forbids it, and how it must be answered: a status, or one of several."""

    name: str
    source: str
    play: Play
    status: int | tuple[int, ...]


@pytest.fixture(scope="module")
async def attacked(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    url = await servers.create_database()
    settings = Settings(
        database_url=SecretStr(url),
        redis_url=SecretStr(servers.valkey.url),
        shards=SHARDS,
        port=0,
        data_dir=Path(tmp_path_factory.mktemp("attacked")),
    )
    async with house(settings) as made:
        yield made
    await servers.drop_database(url)


def as_bearer(make: Callable[[House], str]) -> Play:
    """A read of the victim's order with a token of one's own making."""

    async def play(h: House) -> Answer:
        return await h.ask("GET", f"/v1/orders/{h.order}", headers={"Authorization": f"Bearer {make(h)}"})

    return play


def by_stranger(method: str, path: str, body: Any = None) -> Play:
    """A request of somebody with an account, but without the right. ``{order}`` and the like are the victim's."""

    async def play(h: House) -> Answer:
        target = path.format(order=h.order, product=h.product, victim=h.victim.id, any=uuid4())
        return await h.ask(method, target, by=h.stranger, **({} if body is None else {"json": body}))

    return play


def body(path: str, content: str | bytes, media: str = "application/json", **headers: str) -> Play:
    """A body as it stands, sent by a customer."""

    async def play(h: House) -> Answer:
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        raw = raw.replace(b"PRODUCT", h.product.encode())
        named = {"Content-Type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return await h.ask("POST", path, by=h.stranger, content=raw, headers=named)

    return play


def raw(text: str) -> Play:
    """The bytes of a request as they stand."""

    async def play(h: House) -> Answer:
        return await h.raw(text.encode("latin-1"))

    return play


def hook(content: bytes | None = None, **changed: Any) -> Play:
    """A payment message, signed as told."""

    async def play(h: House) -> Answer:
        sent = content or _payment(h)
        headers = webhook(sent, **changed)
        return await h.ask("POST", "/v1/webhooks/payments", content=sent, headers=headers)

    return play


def _payment(h: House) -> bytes:
    money = {"amount": "10.00", "currency": "EUR"}
    return json.dumps({"order_id": h.order, "payment_id": "pay_1", "amount": money, "status": "succeeded"}).encode()


# --- Access tokens ----------------------------------------------------------------------------------------------------


def _part(content: Any) -> str:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _unsigned(alg: str) -> Callable[[House], str]:
    return lambda h: f"{_part({'alg': alg, 'typ': 'at+jwt', 'kid': h.key.kid})}.{h.token().split('.')[1]}."


def _key_confusion(h: House) -> str:
    public = h.key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{_part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': h.key.kid})}.{h.token().split('.')[1]}"
    code = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head.encode(), public)
    return f"{head}.{_part(code)}"


def _with_signature(signature: bytes) -> Callable[[House], str]:
    return lambda h: ".".join([*h.token().split(".")[:2], _part(signature)])


def _other_payload(h: House) -> str:
    head, _, signature = h.token().split(".")
    return f"{head}.{h.token(scope='accounts:admin').split('.')[1]}.{signature}"


def _without(claim: str) -> Callable[[House], str]:
    return lambda h: h.token(**{claim: None})


_STRANGE_KEY: Final = generate_private_key(SECP256R1())
_RFC_8725 = "RFC 8725"

TOKENS: Final = [
    Attack("no token", "RFC 6750 3", lambda h: h.ask("GET", f"/v1/orders/{h.order}"), 401),
    Attack("alg none", f"{_RFC_8725} 2.1, CVE-2015-9235", as_bearer(_unsigned("none")), 401),
    Attack("alg nOnE", "CVE-2022-23540", as_bearer(_unsigned("nOnE")), 401),
    Attack("the public key as an HMAC secret", "CVE-2022-29217", as_bearer(_key_confusion), 401),
    Attack("a signature of zeros", "CVE-2022-21449", as_bearer(_with_signature(bytes(64))), 401),
    Attack("an empty signature", f"{_RFC_8725} 3.3", as_bearer(_with_signature(b"")), 401),
    Attack("the signature of another payload", f"{_RFC_8725} 3.3", as_bearer(_other_payload), 401),
    Attack("a stranger's key under our id", f"{_RFC_8725} 3.10", as_bearer(lambda h: h.token(key=_STRANGE_KEY)), 401),
    Attack("an unknown key id", f"{_RFC_8725} 3.10", as_bearer(lambda h: h.token(header={"kid": "x" * 43})), 401),
    Attack("a path as key id", "ASVS 5 9.1.3", as_bearer(lambda h: h.token(header={"kid": "../../dev/null"})), 401),
    Attack("SQL as key id", "ASVS 5 1.2.4", as_bearer(lambda h: h.token(header={"kid": "' OR '1'='1"})), 401),
    Attack("a key in the header", "CVE-2018-0114", as_bearer(lambda h: h.token(header={"jwk": {"kty": "EC"}})), 401),
    Attack(
        "a key's address in the header", f"{_RFC_8725} 3.10", as_bearer(lambda h: h.token(header={"jku": "//x"})), 401
    ),
    Attack(
        "an unknown critical extension", "RFC 7515 4.1.11", as_bearer(lambda h: h.token(header={"crit": ["x"]})), 401
    ),
    Attack("an ordinary JWT", "RFC 9068 4", as_bearer(lambda h: h.token(header={"typ": "JWT"})), 401),
    *[
        Attack(f"no {claim}", "RFC 9068 2.2", as_bearer(_without(claim)), 401)
        for claim in ("iss", "aud", "sub", "jti", "iat", "exp", "scope", "sid", "ver", "his")
    ],
    Attack("another issuer", f"{_RFC_8725} 3.8", as_bearer(lambda h: h.token(iss="mallory")), 401),
    Attack("another audience", f"{_RFC_8725} 3.9", as_bearer(lambda h: h.token(aud="billing")), 401),
    Attack("expired", "RFC 9068 4", as_bearer(lambda h: h.token(iat=1_700_000_000, exp=1_700_000_600)), 401),
    Attack("good for ever", "ASVS 5 9.2.1", as_bearer(lambda h: h.token(exp=10**11)), 401),
    Attack("an infinite expiry", "ASVS 5 9.2.1", as_bearer(lambda h: h.token(exp=float("inf"))), 401),
    Attack("a subject that is no id", "RFC 9068 2.2", as_bearer(lambda h: h.token(sub="admin")), 401),
    Attack("a megabyte of token", "ASVS 5 4.2.5", as_bearer(lambda _: "x" * 1_000_000), (400, 401, 431)),
    Attack("a refresh token as access token", "RFC 9700 4.14", as_bearer(lambda h: h.victim.refresh), 401),
    Attack("two credentials at once", "RFC 6750 2", lambda h: _two_credentials(h), (400, 401)),
    Attack("the token in the query", "RFC 6750 5.3", lambda h: _in_query(h), 401),
]


async def _two_credentials(h: House) -> Answer:
    headers = [("Authorization", f"Bearer {who.access}") for who in (h.stranger, h.victim)]
    return await h.http.get(f"/v1/orders/{h.order}", headers=headers)


async def _in_query(h: House) -> Answer:
    return await h.ask("GET", f"/v1/orders/{h.order}?access_token={h.victim.access}")


# --- Sessions and links -----------------------------------------------------------------------------------------------


async def _refresh(h: House, token: str) -> httpx2.Response:
    return await h.ask("POST", "/v1/auth/refresh", json={"refresh_token": token})


async def _replayed(h: House) -> Answer:
    person = await registered(h.http, "replayed")
    first = (await _refresh(h, person.refresh)).json()["refresh_token"]
    await _refresh(h, first)
    return await _refresh(h, person.refresh)


async def _family_of_replayed(h: House) -> Answer:
    person = await registered(h.http, "family")
    first = (await _refresh(h, person.refresh)).json()["refresh_token"]
    second = (await _refresh(h, first)).json()["refresh_token"]
    await _refresh(h, person.refresh)
    return await _refresh(h, second)


async def _after_logout(h: House) -> Answer:
    person = await registered(h.http, "leaver")
    gone = await h.ask("POST", "/v1/auth/logout", json={"refresh_token": person.refresh})
    assert gone.status_code == 204
    return await _refresh(h, person.refresh)


async def _refused_within_two_seconds(h: House, headers: Mapping[str, str]) -> Answer:
    """The bound that the API states for what is revoked."""

    async def refused() -> bool:
        return (await h.ask("GET", "/v1/orders", headers=headers)).status_code == 401

    await eventually(refused, 2)
    return await h.ask("GET", "/v1/orders", headers=headers)


async def _access_after_logout(h: House) -> Answer:
    person = await registered(h.http, "logged-out")
    await h.ask("POST", "/v1/auth/logout", json={"refresh_token": person.refresh})
    return await _refused_within_two_seconds(h, person.headers)


async def _access_of_deactivated(h: House) -> Answer:
    person = await registered(h.http, "deactivated")
    done = await h.ask("POST", f"/v1/accounts/{person.id}/deactivate", by=h.admin)
    assert done.status_code == 200
    return await _refused_within_two_seconds(h, person.headers)


async def _sign_in_of_deactivated(h: House) -> Answer:
    person = await registered(h.http, "dormant")
    await h.ask("POST", f"/v1/accounts/{person.id}/deactivate", by=h.admin)
    form = {"grant_type": "password", "username": person.email, "password": PASSWORD}
    return await h.http.post("/v1/auth/token", data=form)


async def _session_after_password_change(h: House) -> Answer:
    person = await registered(h.http, "changer")
    form = {"grant_type": "password", "username": person.email, "password": PASSWORD}
    other = (await h.http.post("/v1/auth/token", data=form)).json()["refresh_token"]
    change = {"current_password": PASSWORD, "new_password": "seven other words nobody guesses"}
    assert (await h.ask("PUT", "/v1/me/password", by=person, json=change)).status_code == 204
    return await _refresh(h, other)


SESSIONS: Final = [
    Attack("a refresh token used again", "RFC 9700 4.14.2", _replayed, 401),
    Attack("the successor, after that", "RFC 9700 4.14.2", _family_of_replayed, 401),
    Attack("a refresh token after logout", "ASVS 5 7.4.1", _after_logout, 401),
    Attack("an access token after logout", "ASVS 5 7.4.1", _access_after_logout, 401),
    Attack("the session of a deactivated account", "ASVS 5 7.4.2", _access_of_deactivated, 401),
    Attack("signing in to a deactivated account", "ASVS 5 7.4.2", _sign_in_of_deactivated, 401),
    Attack("another session after a new password", "ASVS 5 7.4.3", _session_after_password_change, 401),
    Attack("an access token as refresh token", "RFC 9700 4.14", lambda h: _refresh(h, h.victim.access), (401, 422)),
    Attack("a guessed refresh token", "RFC 6749 10.10", lambda h: _refresh(h, "A" * 43), 401),
    Attack(
        "a guessed link",
        "ASVS 5 6.4.2",
        lambda h: h.ask("POST", "/v1/auth/verify-email", json={"token": "A" * 64}),
        (400, 401, 404, 410, 422),
    ),
    Attack(
        "a guessed link to a new password",
        "ASVS 5 6.4.2",
        lambda h: h.ask("POST", "/v1/auth/password-reset/confirm", json={"token": "A" * 64, "password": PASSWORD}),
        (400, 401, 404, 410, 422),
    ),
    Attack(
        "a mail to one's own address without signing in",
        "OWASP API2:2023",
        lambda h: h.ask("POST", "/v1/me/verify-email"),
        401,
    ),
    Attack(
        "a mail to another's address",
        "OWASP API1:2023",
        by_stranger("POST", "/v1/me/verify-email", {"email": "victim@people.example"}),
        422,
    ),
    Attack(
        "a new password without the old one",
        "ASVS 5 6.2.3",
        by_stranger("PUT", "/v1/me/password", {"current_password": "wrong", "new_password": PASSWORD + "!"}),
        403,
    ),
    Attack(
        "leaving without the password",
        "ASVS 5 7.5.1",
        lambda h: h.ask(
            "DELETE",
            "/v1/me",
            by=h.stranger,
            content=b'{"password": "wrong"}',
            headers={"Content-Type": "application/json"},
        ),
        403,
    ),
    Attack(
        "a common password",
        "NIST 800-63B 3.1.1.2",
        lambda h: h.http.post(
            "/v1/accounts", json={"email": "a@b.example", "username": "ab", "password": "password123"}
        ),
        422,
    ),
    Attack(
        "a password of seven letters",
        "NIST 800-63B 3.1.1.2",
        lambda h: h.http.post("/v1/accounts", json={"email": "a@b.example", "username": "ab", "password": "xq7kwp2"}),
        422,
    ),
    Attack(
        "one's own name as password",
        "NIST 800-63B 3.1.1.2",
        lambda h: h.http.post(
            "/v1/accounts", json={"email": "a@b.example", "username": "marguerite", "password": "Marguerite"}
        ),
        422,
    ),
]


# --- What belongs to others -------------------------------------------------------------------------------------------

OTHERS: Final = [
    Attack("another's order", "OWASP API1:2023", by_stranger("GET", "/v1/orders/{order}"), 404),
    Attack("cancelling another's order", "OWASP API1:2023", by_stranger("POST", "/v1/orders/{order}/cancel", {}), 404),
    Attack(
        "the list of another's orders", "OWASP API1:2023", by_stranger("GET", "/v1/orders?customer_id={victim}"), 403
    ),
    Attack(
        "shipping",
        "OWASP API5:2023",
        by_stranger("POST", "/v1/orders/{order}/ship", {"carrier": "x", "tracking_no": "y"}),
        403,
    ),
    Attack("another's account", "OWASP API1:2023", by_stranger("GET", "/v1/accounts/{victim}"), 403),
    Attack("all accounts", "OWASP API5:2023", by_stranger("GET", "/v1/accounts"), 403),
    Attack("deactivating another", "OWASP API5:2023", by_stranger("POST", "/v1/accounts/{victim}/deactivate"), 403),
    Attack(
        "becoming admin",
        "OWASP API5:2023",
        by_stranger("PUT", "/v1/accounts/{victim}/roles", {"roles": ["admin"]}),
        403,
    ),
    Attack("erasing another", "OWASP API5:2023", by_stranger("DELETE", "/v1/accounts/{victim}"), 403),
    Attack("another's session", "OWASP API1:2023", by_stranger("DELETE", "/v1/me/sessions/{any}"), 404),
    Attack("another's API key", "OWASP API1:2023", by_stranger("DELETE", "/v1/me/api-keys/{any}"), 404),
    Attack(
        "a new product",
        "OWASP API5:2023",
        by_stranger("POST", "/v1/products", {"sku": "x", "name": "x", "price": {"amount": "1", "currency": "EUR"}}),
        403,
    ),
    Attack(
        "a price of one's own", "OWASP API5:2023", by_stranger("PATCH", "/v1/products/{product}", {"name": "mine"}), 403
    ),
    Attack(
        "more stock",
        "OWASP API5:2023",
        by_stranger("POST", "/v1/products/{product}/stock", {"change": 1, "reason": "x"}),
        403,
    ),
    Attack("a file of products", "OWASP API5:2023", lambda h: _import(h), 403),
    Attack("another's import", "OWASP API1:2023", by_stranger("GET", "/v1/imports/{any}"), 403),
    Attack("the log", "OWASP API5:2023", by_stranger("GET", "/v1/events"), 403),
    Attack(
        "the history of another's stream", "OWASP API1:2023", by_stranger("GET", "/v1/streams/{victim}/events"), 403
    ),
    Attack("more scopes than the roles give", "RFC 6749 3.3", lambda h: _more_scopes(h), 403),
    Attack(
        "a key with more scopes than one's own",
        "OWASP API5:2023",
        by_stranger("POST", "/v1/me/api-keys", {"name": "x", "scopes": ["accounts:admin"]}),
        (403, 422),
    ),
]


async def _import(h: House) -> Answer:
    return await h.ask(
        "POST", "/v1/products/import", by=h.stranger, headers={"content-type": "text/csv"}, content=b"sku\nmine\n"
    )


async def _more_scopes(h: House) -> Answer:
    form = {"grant_type": "password", "username": "stranger", "password": PASSWORD, "scope": "accounts:admin"}
    return await h.http.post("/v1/auth/token", data=form)


# --- What a client may not decide -------------------------------------------------------------------------------------

_ACCOUNT: Final = {"email": "m@people.example", "username": "massive", "password": PASSWORD}


def _register_with(**more: Any) -> Play:
    return lambda h: h.http.post("/v1/accounts", json={**_ACCOUNT, **more})


def _order_with(**more: Any) -> Play:
    return lambda h: h.ask("POST", "/v1/orders", by=h.stranger, json={**one_of(h.product), **more})


MASS_ASSIGNMENT: Final = [
    Attack("a role of one's own", "OWASP API3:2023", _register_with(roles=["admin"]), 422),
    Attack("a verified email from the start", "OWASP API3:2023", _register_with(email_verified=True), 422),
    Attack("an id of one's own", "OWASP API3:2023", _register_with(id=str(uuid4())), 422),
    Attack("a role by the profile", "OWASP API3:2023", by_stranger("PATCH", "/v1/me", {"roles": ["admin"]}), 422),
    Attack("a total of one's own", "OWASP API3:2023", _order_with(total={"amount": "0.01", "currency": "EUR"}), 422),
    Attack("a status of one's own", "OWASP API3:2023", _order_with(status="paid"), 422),
    Attack("another customer's name", "OWASP API3:2023", _order_with(customer_id=str(uuid4())), 422),
    Attack("a polluted prototype", "CWE-1321", body("/v1/orders", '{"__proto__": {"admin": true}, "items": []}'), 422),
]

# --- Bodies and heads -------------------------------------------------------------------------------------------------

_ITEM: Final = '{"items": [{"product_id": "PRODUCT", "quantity": %s}]}'

HOSTILE: Final = [
    Attack("a key twice", "RFC 8259 4", body("/v1/orders", '{"items": [], "items": []}'), 400),
    Attack("NaN", "RFC 8259 6", body("/v1/orders", _ITEM % "NaN"), 400),
    Attack("Infinity", "RFC 8259 6", body("/v1/orders", _ITEM % "-Infinity"), 400),
    Attack("a number beyond 64 bit", "RFC 7493 2.2", body("/v1/orders", _ITEM % ("9" * 400)), 400),
    Attack("a huge exponent", "CWE-400", body("/v1/orders", _ITEM % "1e999999"), (400, 422)),
    Attack("text for a number", "ASVS 5 2.2.1", body("/v1/orders", _ITEM % '"1"'), 422),
    Attack("true for one", "ASVS 5 2.2.1", body("/v1/orders", _ITEM % "true"), 422),
    Attack("a negative quantity", "OWASP API6:2023", body("/v1/orders", _ITEM % "-1"), 422),
    Attack("half a surrogate pair", "RFC 8259 8.2", body("/v1/orders", r'{"items": "\ud800"}'), (400, 422)),
    Attack("NUL in a string", "CWE-158", body("/v1/orders", r'{"items": "\u0000"}'), 400),
    Attack("a hundred thousand brackets", "CVE-2022-31116", body("/v1/orders", "[" * 100_000), 400),
    Attack("depth 33", "CWE-674", body("/v1/orders", "[" * 33 + "]" * 33), 400),
    Attack("a byte order mark", "RFC 8259 8.1", body("/v1/orders", b"\xef\xbb\xbf{}"), 400),
    Attack("UTF-16", "RFC 8259 8.1", body("/v1/orders", "{}".encode("utf-16")), 400),
    Attack("overlong UTF-8", "CWE-176", body("/v1/orders", b'{"items": "\xc0\xae"}'), 400),
    Attack("two megabytes", "ASVS 5 5.2.1", body("/v1/orders", b" " * 2_097_152), 413),
    Attack("a form for JSON", "ASVS 5 4.1.1", body("/v1/orders", "items=1", "application/x-www-form-urlencoded"), 415),
    Attack(
        "XML",
        "ASVS 5 4.1.1",
        body("/v1/orders", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>", "application/xml"),
        415,
    ),
    Attack("a compressed bomb", "CWE-409", body("/v1/orders", b"\x1f\x8b" + bytes(100), Content_Encoding="gzip"), 415),
    Attack("another charset", "CVE-2023-24998", body("/v1/orders", "{}", "application/json; charset=utf-7"), 415),
    Attack("SQL in a filter", "ASVS 5 1.2.4", lambda h: h.ask("GET", "/v1/products?category=' OR 1=1 --"), 200),
    Attack("SQL in a sort", "ASVS 5 1.2.4", lambda h: h.ask("GET", "/v1/products?sort=price;DROP TABLE events"), 422),
    Attack("a filter that is not there", "OWASP API3:2023", lambda h: h.ask("GET", "/v1/products?deleted=true"), 422),
    Attack("a cursor of one's own", "CWE-565", lambda h: h.ask("GET", "/v1/products?cursor=eyJhIjoxfQ"), 422),
    Attack("a limit of a million", "OWASP API4:2023", lambda h: h.ask("GET", "/v1/products?limit=1000000"), 422),
    Attack("NUL in the path", "CWE-158", raw("GET /v1/products/%00 HTTP/1.1\r\nHost: weir\r\n\r\n"), (400, 404)),
    Attack("a path that climbs", "CWE-22", raw("GET /v1/../../etc/passwd HTTP/1.1\r\nHost: weir\r\n\r\n"), 404),
    Attack(
        "an encoded path that climbs",
        "CWE-22",
        raw("GET /v1/%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: weir\r\n\r\n"),
        404,
    ),
    Attack("a mail header in an email", "CWE-93", _register_with(email="a@b.example\r\nBcc: all@b.example"), 422),
    Attack("a mail header in a username", "CWE-93", _register_with(username="a\r\nBcc: all@b.example"), 422),
    Attack("a path as the language of one's mails", "CWE-22", lambda h: _in_language(h), 201),
    Attack(
        "two lengths",
        "RFC 9112 6.3, CVE-2019-16276",
        raw("POST /v1/orders HTTP/1.1\r\nHost: weir\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"),
        400,
    ),
    Attack(
        "a length and chunks",
        "RFC 9112 6.1, CWE-444",
        raw(
            "POST /v1/orders HTTP/1.1\r\nHost: weir\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        400,
    ),
    Attack(
        "an unknown transfer encoding",
        "RFC 9112 6.1",
        raw("POST /v1/orders HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, 501),
    ),
    Attack(
        "a header with a NUL", "RFC 9110 5.5", raw("GET /v1/products HTTP/1.1\r\nHost: weir\r\nX-A: a\0b\r\n\r\n"), 400
    ),
    Attack("a space before the colon", "RFC 9112 5.1", raw("GET /v1/products HTTP/1.1\r\nHost : weir\r\n\r\n"), 400),
    Attack(
        "sixty kilobytes of headers",
        "ASVS 5 4.2.5",
        raw(
            "GET /v1/products HTTP/1.1\r\nHost: weir\r\n"
            + "".join(f"X-{n}: {'a' * 1000}\r\n" for n in range(60))
            + "\r\n"
        ),
        (400, 431),
    ),
    Attack(
        "a target of ten kilobytes",
        "ASVS 5 4.2.5",
        raw(f"GET /v1/products?q={'a' * 10_000} HTTP/1.1\r\nHost: weir\r\n\r\n"),
        414,
    ),
    Attack("TRACE", "ASVS 5 13.4.4", raw("TRACE /v1/products HTTP/1.1\r\nHost: weir\r\n\r\n"), 405),
    Attack(
        "a method of one's own", "RFC 9110 15.5.6", raw("PROPFIND /v1/products HTTP/1.1\r\nHost: weir\r\n\r\n"), 405
    ),
    Attack(
        "an idempotency key of a kilobyte", "CWE-400", body("/v1/orders", _ITEM % 1, Idempotency_Key="k" * 1024), 400
    ),
    Attack("If-Match that is no version", "RFC 9110 13.1.1", body("/v1/orders", _ITEM % 1, If_Match="1 OR 1=1"), 400),
]


async def _in_language(h: House) -> Answer:
    named = {"Accept-Language": "../../../etc/passwd, {{7*7}};q=1, de%0d%0aBcc:x;q=9, " + "x," * 2000}
    account = {**_ACCOUNT, "email": "tongues@people.example", "username": "tongues"}
    return await h.http.post("/v1/accounts", json=account, headers=named)


# --- What is told, and to whom ----------------------------------------------------------------------------------------


async def _enumerated(h: House) -> Answer:
    """A wrong password and an unknown name are told apart by nothing but the request's id."""
    told = []
    for name in ("victim", "nobody-of-that-name"):
        form = {"grant_type": "password", "username": name, "password": "not the password"}
        told.append(await h.http.post("/v1/auth/token", data=form))
    first, second = [{**answer.json(), "request_id": ""} for answer in told]
    assert first == second
    assert {*told[0].headers} == {*told[1].headers}
    return told[1]


async def _forgotten(h: House) -> Answer:
    told = [
        await h.http.post("/v1/auth/password-reset", json={"email": email})
        for email in (h.victim.email, "nobody@people.example")
    ]
    assert told[0].content == told[1].content
    return told[1]


async def _from_another_site(h: House) -> Answer:
    answer = await h.ask("GET", "/v1/products", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    return answer


async def _slowly(h: House) -> Answer:
    """A body that never comes to its end."""
    head = b"POST /v1/accounts HTTP/1.1\r\nHost: weir\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    async with connected(h.port) as line:
        await line.say(head)
        async with asyncio.timeout(20):
            return int((await line.reader.readline()).split(b" ")[1])


TOLD: Final = [
    Attack("who has an account, by its text", "ASVS 5 6.3.8", _enumerated, 401),
    Attack("who has an account, by a forgotten password", "ASVS 5 6.3.8", _forgotten, 202),
    Attack("a script of another site", "OWASP API8:2023", _from_another_site, 200),
    Attack(
        "a line for the log",
        "CWE-117",
        raw("GET /v1/x%0d%0a{%22a%22:1} HTTP/1.1\r\nHost: weir\r\n\r\n"),
        404,
    ),
    Attack("a body drop by drop", "CWE-400, CVE-2007-6750", _slowly, 408),
]

# --- Payments ---------------------------------------------------------------------------------------------------------

_WEBHOOKS = "Standard Webhooks 1.0"

PAYMENTS: Final = [
    Attack(
        "no signature",
        _WEBHOOKS,
        lambda h: h.ask(
            "POST", "/v1/webhooks/payments", content=_payment(h), headers={"Content-Type": "application/json"}
        ),
        401,
    ),
    Attack("another secret", _WEBHOOKS, hook(secret=b"another secret of thirty-two by."), 401),
    Attack("yesterday's message", _WEBHOOKS, hook(at=1_700_000_000), 401),
    Attack("tomorrow's message", _WEBHOOKS, hook(at=10**10), 401),
    Attack("an older signature scheme", _WEBHOOKS, hook(version="v0"), 401),
    Attack(
        "the signature of another body",
        _WEBHOOKS,
        lambda h: h.ask("POST", "/v1/webhooks/payments", content=_payment(h) + b" ", headers=webhook(_payment(h))),
        401,
    ),
    Attack(
        "a customer who says it is paid",
        _WEBHOOKS,
        lambda h: h.ask(
            "POST",
            "/v1/webhooks/payments",
            by=h.stranger,
            content=_payment(h),
            headers={"Content-Type": "application/json"},
        ),
        401,
    ),
]

# --- Pictures ---------------------------------------------------------------------------------------------------------


def picture(content: bytes, media: str = "image/png", path: str = "/v1/products/{product}/image") -> Play:
    """What somebody who may change products sends as a picture."""

    async def play(h: House) -> Answer:
        target = path.format(product=h.product)
        answer = await h.ask("PUT", target, by=h.admin, content=content, headers={"Content-Type": media})
        shown = await h.ask("GET", f"/v1/products/{h.product}/image")
        assert shown.status_code == 404, "nothing of it is ever shown"
        return answer

    return play


def shown(query: str = "", product: str = "{product}") -> Play:
    """A look at a picture."""

    async def play(h: House) -> Answer:
        return await h.raw(
            f"GET /v1/products/{product.format(product=h.product)}/image{query} HTTP/1.1\r\nHost: weir\r\n\r\n".encode()
        )

    return play


async def _picture_by_stranger(h: House) -> Answer:
    head = {"Content-Type": "image/png"}
    return await h.ask("PUT", f"/v1/products/{h.product}/image", by=h.stranger, content=png(), headers=head)


async def _slow_picture(h: House) -> Answer:
    """Its first bytes come, and then nothing."""
    head = f"PUT /v1/products/{h.product}/image HTTP/1.1\r\nHost: weir\r\nContent-Type: image/png\r\n"
    admin = "".join(f"{name}: {value}\r\n" for name, value in h.admin.headers.items())
    async with connected(h.port) as line:
        await line.say(f"{head}{admin}Content-Length: 99\r\n\r\n".encode(), png()[:20])
        async with asyncio.timeout(20):
            return int((await line.reader.readline()).split(b" ")[1])


_SVG: Final = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
_UPLOADS: Final = "OWASP File Upload Cheat Sheet"

PICTURES: Final = [
    Attack("a page for a picture", _UPLOADS, picture(b"<html><script>alert(1)</script>"), 415),
    Attack("a drawing with a script", "CWE-79", picture(_SVG), 415),
    Attack("a drawing that says what it is", "CWE-79", picture(_SVG, "image/svg+xml"), 415),
    Attack("a picture that is a script behind its end", "CWE-434", picture(png() + b"<script>alert(1)</script>"), 422),
    Attack(
        "a picture that is an archive too", "CVE-2008-5353", picture(jpeg() + b"PK\x03\x04\x14\x00", "image/jpeg"), 422
    ),
    Attack(
        "a picture whose comment is a program",
        "CWE-434",
        picture(jpeg(8, 8, segment(0xFE, b"<?php system($_GET[0]) ?>")), "image/jpeg"),
        422,
    ),
    Attack("a picture of sixteen billion pixels", "CWE-409", picture(png(131_072, 131_072)), 422),
    Attack("half a picture", "CWE-20", picture(webp()[:-3], "image/webp"), 422),
    Attack("six megabytes of a picture", "OWASP API4:2023", picture(png() + bytes(6_291_456)), 413),
    Attack("a picture in a form", _UPLOADS, picture(png(), "multipart/form-data; boundary=x"), 415),
    Attack("a compressed picture", "CWE-409", picture(png(), "application/gzip"), 415),
    Attack("a picture for a path that climbs", "CWE-22", picture(png(), path="/v1/products/..%2f..%2fetc/image"), 404),
    Attack("a picture for what is no id", "CWE-22", picture(png(), path="/v1/products/..{product}/image"), 422),
    Attack("a picture for another's shop", "OWASP API5:2023", _picture_by_stranger, 403),
    Attack("a picture drop by drop", "CWE-400", _slow_picture, 408),
    Attack("a picture's name that climbs", "CWE-22", shown("?v=../../../etc/passwd"), 422),
    Attack("an encoded picture's name that climbs", "CWE-22", shown("?v=..%2f..%2f.drafts%2fx.png"), 422),
    Attack("a picture's name with a line end", "CWE-93", shown(f"?v={'0' * 64}.png%0a"), 422),
    Attack("a picture's name that nobody has", "CWE-639", shown(f"?v={'0' * 64}.png"), 404),
    Attack("a product whose id climbs", "CWE-22", shown(product="..%2f{product}"), (404, 422)),
]

ATTACKS: Final = [*TOKENS, *SESSIONS, *OTHERS, *MASS_ASSIGNMENT, *HOSTILE, *TOLD, *PAYMENTS, *PICTURES]


def test_the_table_is_long_and_says_each_thing_once() -> None:
    assert len(ATTACKS) >= 60
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


async def test_what_is_attacked_can_be_done_by_those_who_may(attacked: House) -> None:
    h = attacked
    mine = await h.ask("GET", f"/v1/orders/{h.order}", headers={"Authorization": f"Bearer {h.token()}"})
    assert mine.status_code == 200
    assert (await h.ask("POST", "/v1/orders", by=h.stranger, json=one_of(h.product))).status_code == 201
    own = await placed(h, h.stranger)
    assert (await h.ask("POST", f"/v1/orders/{own}/cancel", by=h.stranger, json={})).status_code == 200


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
async def test_an_attack_gets_the_answer_it_must(attacked: House, attack: Attack) -> None:
    answer = await attack.play(attacked)
    status = answer if isinstance(answer, int) else answer.status_code
    wanted = attack.status if isinstance(attack.status, tuple) else (attack.status,)
    assert status in wanted, f"{attack.source}: {answer if isinstance(answer, int) else answer.text}"
    if not isinstance(answer, int) and status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
