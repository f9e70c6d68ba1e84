"""Access tokens: ours are good, and everything that is not exactly ours is refused."""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from infra.eventsourcing.current_log import CurrentLog
from infra.identity.access_tokens import AUDIENCE, REMEMBERED, InvalidToken, Issued, Tokens
from infra.identity.signing_keys import KeyRing, SigningKey, generate, key_ring, thumbprint
from tests.support.current_log import LOG

pytestmark = pytest.mark.anyio

ACCOUNT = UUID("01890000-0000-7000-8000-000000000001")
SESSION = UUID("01890000-0000-7000-8000-000000000002")
OURS = key_ring([generate()])
THEIRS = key_ring([generate()])


class Ring:
    """Signing keys at hand; counts how often a key was asked for."""

    def __init__(self, ring: KeyRing = OURS) -> None:
        self._ring = ring
        self.asked = 0
        self.gone = 0

    async def signing(self) -> SigningKey:
        return self._ring.signing

    async def public(self, kid: str) -> EllipticCurvePublicKey | None:
        self.asked += 1
        return self._ring.public.get(kid)


def tokens(
    source: Ring | None = None,
    *,
    seconds: int = 900,
    log: CurrentLog | None = None,
    now: Callable[[], float] = time.time,
) -> Tokens:
    return Tokens(source or Ring(), log or CurrentLog(LOG), now=now, issuer="weir", seconds=seconds)


async def issue(mint: Tokens, *scopes: str) -> Issued:
    return await mint.issue(ACCOUNT, scopes, session_id=SESSION, version=3)


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": "weir",
        "aud": AUDIENCE,
        "sub": str(ACCOUNT),
        "jti": str(uuid4()),
        "iat": now,
        "exp": now + 900,
        "scope": "orders:read orders:write",
        "sid": str(SESSION),
        "ver": 3,
        "his": str(LOG.history),
    }
    return {name: value for name, value in {**whole, **changed}.items() if value is not None}


def signed(payload: Mapping[str, Any], *, ring: KeyRing = OURS, **header: Any) -> str:
    headers = {"typ": "at+jwt", "kid": OURS.signing.kid, **header}
    return jwt.encode(dict(payload), ring.signing.private, "ES256", headers=headers)


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: Mapping[str, Any]) -> str:
    return f"{part(dict(header))}.{part(claims())}."


def with_public_key_as_hmac_secret() -> str:
    """Key confusion: what everybody may know, used as if it were a shared secret (RFC 8725, 2.1)."""
    secret = OURS.signing.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = part({"alg": "HS256", "typ": "at+jwt", "kid": OURS.signing.kid}), part(claims())
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{head}.{body}".encode(), secret
    )
    return f"{head}.{body}.{part(signature)}"


def with_the_payload_of_another() -> str:
    head, _, signature = signed(claims()).split(".")
    return f"{head}.{part(claims(scope='accounts:admin'))}.{signature}"


ATTACKS: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned({"alg": "none", "typ": "at+jwt", "kid": OURS.signing.kid}),
    "alg None in odd case": lambda: unsigned({"alg": "nOnE", "typ": "at+jwt", "kid": OURS.signing.kid}),
    "the public key as an HMAC secret": with_public_key_as_hmac_secret,
    "the signature of another payload": with_the_payload_of_another,
    "signed by a stranger under our key id": lambda: signed(claims(), ring=THEIRS),
    "an unknown key id": lambda: signed(claims(), ring=THEIRS, kid=THEIRS.signing.kid),
    "a key id that is a path": lambda: signed(claims(), kid="../../dev/null"),
    "a key id that is a list": lambda: f"{part({'alg': 'ES256', 'typ': 'at+jwt', 'kid': ['x']})}.{part(claims())}.AA",
    "no key id": lambda: f"{part({'alg': 'ES256', 'typ': 'at+jwt'})}.{part(claims())}.AA",
    "a key in the header": lambda: signed(claims(), jwk=THEIRS.signing.jwk(), ring=THEIRS),
    "a key address in the header": lambda: signed(claims(), jku="https://keys.example/"),
    "an unknown critical extension": lambda: signed(claims(), crit=["exp"], exp=1),
    "an ordinary JWT": lambda: signed(claims(), typ="JWT"),
    "a refresh token's type": lambda: signed(claims(), typ="rt+jwt"),
    "no issuer": lambda: signed(claims(iss=None)),
    "another issuer": lambda: signed(claims(iss="mallory")),
    "no audience": lambda: signed(claims(aud=None)),
    "another audience": lambda: signed(claims(aud="billing")),
    "a list of audiences": lambda: signed(claims(aud=[AUDIENCE, "billing"])),
    "no subject": lambda: signed(claims(sub=None)),
    "a subject that is no id": lambda: signed(claims(sub="admin")),
    "no token id": lambda: signed(claims(jti=None)),
    "no time of issue": lambda: signed(claims(iat=None)),
    "issued in the future": lambda: signed(claims(iat=int(time.time()) + 60, exp=int(time.time()) + 600)),
    "no expiry": lambda: signed(claims(exp=None)),
    "expired": lambda: signed(claims(iat=int(time.time()) - 900, exp=int(time.time()) - 10)),
    "good for a day": lambda: signed(claims(exp=int(time.time()) + 86_400)),
    "good for ever": lambda: signed(claims(exp=10**20)),
    "an expiry that is text": lambda: signed(claims(exp=str(int(time.time()) + 600))),
    "an expiry that is infinite": lambda: signed(claims(exp=float("inf"))),
    "an expiry that is no number": lambda: signed(claims(exp=float("nan"))),
    "an expiry that is true": lambda: signed(claims(exp=True)),
    "no scope": lambda: signed(claims(scope=None)),
    "a scope that is a list": lambda: signed(claims(scope=["accounts:admin"])),
    "no session": lambda: signed(claims(sid=None)),
    "a session that is no id": lambda: signed(claims(sid="mine")),
    "a session that is a number": lambda: signed(claims(sid=7)),
    "no version": lambda: signed(claims(ver=None)),
    "a version that is text": lambda: signed(claims(ver="3")),
    "a version that is true": lambda: signed(claims(ver=True)),
    "a version before the first": lambda: signed(claims(ver=0)),
    "no history": lambda: signed(claims(his=None)),
    "a history that is no id": lambda: signed(claims(his="here")),
    "a history that is a number": lambda: signed(claims(his=7)),
    "nothing": lambda: "",
    "one dot": lambda: ".",
    "four parts": lambda: signed(claims()) + ".AA",
    "no base64": lambda: "%%%.%%%.%%%",
    "a header of nested lists": lambda: f"{part(b'[' * 3000)}.{part(claims())}.AA",
    "a megabyte": lambda: "A" * 1_000_000,
    "text beyond ASCII": lambda: signed(claims()) + "é",
}


async def test_a_token_that_we_issued_says_who_and_what() -> None:
    mint = tokens()
    issued = await issue(mint, "orders:write", "orders:read")
    access = await tokens().verify(issued.token)
    assert access.account_id == ACCOUNT
    assert access.scopes == {"orders:read", "orders:write"}
    assert (access.session_id, access.version, access.history) == (SESSION, 3, LOG.history)
    assert (issued.expires_in, issued.scope) == (900, "orders:read orders:write")


async def test_a_token_written_by_hand_in_our_form_is_good_so_the_attacks_fail_for_their_one_difference() -> None:
    assert (await tokens().verify(signed(claims()))).account_id == ACCOUNT


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_token_that_is_not_exactly_ours_is_refused(attack: str) -> None:
    with pytest.raises(InvalidToken):
        await tokens().verify(ATTACKS[attack]())


async def test_a_token_lives_fifteen_minutes_at_most_whatever_the_settings_say() -> None:
    issued = await issue(tokens(seconds=86_400))
    assert issued.expires_in == 900


async def test_a_token_is_checked_by_cryptography_once() -> None:
    ring = Ring()
    verifier = tokens(ring)
    token = signed(claims())
    first = await verifier.verify(token)
    assert [await verifier.verify(token) for _ in range(3)] == [first] * 3
    assert verifier.remembered(token) is first
    assert ring.asked == 1


async def test_a_remembered_token_expires_all_the_same() -> None:
    verifier = tokens()
    now = int(time.time())
    token = signed(claims(iat=now - 890, exp=now - 2))
    assert (await verifier.verify(token)).expires_at == now - 2
    assert verifier.remembered(token) is None


async def test_a_token_names_the_history_that_its_version_is_of_as_long_as_it_lives() -> None:
    log = CurrentLog(LOG)
    mint = tokens(log=log)
    before = (await issue(mint)).token
    log.found(LOG.on("2"))
    after = (await issue(mint)).token
    histories = [(await mint.verify(token)).history for token in (before, after)]
    assert histories == [LOG.history, LOG.on("2").history]


async def test_what_a_token_is_good_for_is_told_by_one_clock_and_not_by_the_machines() -> None:
    fast = time.time() + 7200
    mint, verifier = tokens(now=lambda: fast), tokens(now=lambda: fast + 890)
    token = (await issue(mint)).token
    assert (await verifier.verify(token)).expires_at == int(fast) + 900
    assert verifier.remembered(token) is not None
    late = tokens(now=lambda: fast + 906)
    with pytest.raises(InvalidToken):
        await late.verify(token)


async def test_a_token_of_a_time_that_the_clock_was_set_back_from_is_good_for_nothing() -> None:
    """It would be good for that much longer than it may be; who refreshes has another at once."""
    clock = [time.time()]
    mint = tokens(now=lambda: clock[0])
    token = (await issue(mint)).token
    await mint.verify(token)
    clock[0] -= 3600
    assert mint.remembered(token) is None
    with pytest.raises(InvalidToken):
        await mint.verify(token)


async def test_a_refused_token_is_not_remembered() -> None:
    verifier = tokens()
    with pytest.raises(InvalidToken):
        await verifier.verify(signed(claims(), ring=THEIRS))
    assert verifier.remembered(signed(claims(), ring=THEIRS)) is None


async def test_the_memory_of_tokens_is_bounded() -> None:
    verifier = tokens()
    token = signed(claims())
    access = await verifier.verify(token)
    for number in range(REMEMBERED):
        verifier._verified[str(number)] = access
    await verifier.verify(signed(claims()))
    assert len(verifier._verified) <= REMEMBERED


def test_the_published_keys_hold_no_secret() -> None:
    (key,) = json.loads(OURS.jwks)["keys"]
    assert key.keys() == {"crv", "kty", "x", "y", "kid", "use", "alg"}
    assert key["kid"] == thumbprint(OURS.signing.public) == OURS.signing.kid


def test_a_published_key_verifies_our_tokens() -> None:
    (key,) = json.loads(OURS.jwks)["keys"]
    decoded = jwt.decode(signed(claims()), jwt.PyJWK(key), algorithms=["ES256"], audience=AUDIENCE)
    assert decoded["sub"] == str(ACCOUNT)


async def test_neither_key_nor_token_shows_in_a_repr() -> None:
    issued = await issue(tokens())
    assert issued.token not in repr(issued)
    assert "private" not in repr(OURS.signing)


async def test_a_token_is_of_the_history_in_which_its_version_was_looked_up() -> None:
    log = CurrentLog(LOG)
    mint = tokens(log=log)
    asked_in = mint.history
    log.found(replace(LOG, history=uuid4()))
    late = await mint.issue(ACCOUNT, ["orders:read"], session_id=SESSION, version=3, history=asked_in)
    assert (await mint.verify(late.token)).history == asked_in != mint.history
