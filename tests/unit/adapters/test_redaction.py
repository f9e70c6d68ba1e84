"""Redaction: what is planted in a text, a field or an object is found there by no reader of the line."""

from base64 import b64encode, urlsafe_b64encode
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from infra.identity.api_keys.format import fresh
from infra.observability.redaction import HIDDEN, RULES, Redactor, is_telling, secrets_of
from infra.settings import Settings

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLWJ5dGVz"
KEY = fresh(uuid4()).text
PASSWORD = "hunter2 and more"

PLANTED = {
    "userinfo of a URL": ("cannot reach postgresql://weir:s3cr3t@db:5432/weir", "s3cr3t"),
    "userinfo with a stray @": ("at redis://:p@ss@cache/0", "p@ss"),
    "a header as text": ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
    "another scheme": ("authorization=Negotiate YIIabcd and more", "YIIabcd"),
    "a header in a repr of pairs": ("[(b'authorization', b'Bearer abcdefgh12345678')]", "abcdefgh12345678"),
    "a header of an API key": ("headers={'x-api-key': 'topsecret-1'}", "topsecret-1"),
    "cookies to the end of the line": ("Set-Cookie: a=first; b=second", "second"),
    "a scheme without its header": ("got bearer abcdefgh12345678", "abcdefgh12345678"),
    "basic credentials": ("Basic YWRhOmh1bnRlcjI", "YWRhOmh1bnRlcjI"),
    "JSON": ('{"password": "two words", "age": 5}', "two words"),
    "JSON with a quote in it": (r'{"new_password": "a\"tail", "age": 5}', "tail"),
    "JSON within JSON": (r'{"body": "{\"password\": \"two words\"}"}', "two words"),
    "JSON cut off": ('{"password": "half of', "half of"),
    "an assignment in a traceback": ("    connect(password='two words')", "two words"),
    "a keyword of libpq": ("host=db password=s3cr3t dbname=weir", "s3cr3t"),
    "a variable of the environment": ("PGPASSWORD=s3cr3t psql", "s3cr3t"),
    "a link of a mail": ("GET /verify-email?token=abcdef&lang=de", "abcdef"),
    "a signature of S3": ("https://b.example/x?X-Amz-Signature=deadbeef&X-Amz-Date=1", "deadbeef"),
    "a signature of Azure": ("https://b.example/x?sv=1&sig=dead%2Fbeef", "dead%2Fbeef"),
    "a token that is signed": (f"token was {JWT}!", JWT.rpartition(".")[2]),
    "the secret of webhooks": ("signed with whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8G"),
    "an API key": (f"the key {KEY} is not known", KEY[-40:]),
    "an encryption key": (f"bad key {b64encode(bytes(range(32))).decode()}", "AAECAwQF"),
    "a private key": ("x\n-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\ny", "MIGHAgEA"),
    "an address": ("550 <ada.lovelace@people.example> is unknown", "ada.lovelace"),
    "a row": ("null value\nDETAIL:  Failing row contains (7, gracehopper, null).", "gracehopper"),
    "a row of several lines": ("x\nDETAIL:  Failing row contains (7, Rear\n\nadmiral (b).\nHINT:  none", "Rear"),
    "a row that is cut off": ("x\nDETAIL:  Failing row contains (7, gracehop", "gracehop"),
    "a row's key": ("duplicate\nDETAIL:  Key (shown, lower(name))=(7, grace (h)opper) already exists.", "grace"),
    "a row's key that is cut off": ("duplicate\nDETAIL:  Key (name)=(gracehop", "gracehop"),
    "an argument": ("DataError: invalid input for query argument $3: 'grace\\ud800' ('utf-8' codec: x)", "grace"),
    "one of many arguments": (
        "invalid input for query argument $1 in element #0 of executemany() sequence: ['grace'] (expected str)",
        "grace",
    ),
    "a value in another syntax": ('invalid input syntax for type uuid: "gracehopper"', "grace"),
    "one's own secret": (f"the words {PASSWORD} stand here", PASSWORD),
    "one's own secret in a URL": ("/search?q=hunter2%20and%20more", "hunter2"),
}


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([PASSWORD])


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_secret_is_not_told(redactor: Redactor, what: str) -> None:
    text, secret = PLANTED[what]
    told = redactor.text(text)
    assert secret not in told
    assert HIDDEN in told


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_is_needed_by_something_that_is_planted(rule: Any) -> None:
    assert any(rule.form.search(text) for text, _ in PLANTED.values())


@pytest.mark.parametrize("what", PLANTED)
@pytest.mark.parametrize("around", ["{}", "before {} after", "\n{}\n", "('{}',)", "Ünïcode 🜚 {}"])
def test_it_is_not_told_wherever_it_stands(redactor: Redactor, what: str, around: str) -> None:
    text, secret = PLANTED[what]
    assert secret not in redactor.text(around.format(text))


@pytest.mark.parametrize("what", PLANTED)
def test_it_is_not_told_by_fields_lists_and_objects(redactor: Redactor, what: str) -> None:
    text, secret = PLANTED[what]

    class Odd:
        def __repr__(self) -> str:
            return f"<Odd {text}>"

    fields = {"a": text, "b": [text, {"c": (text,)}], "d": Odd(), "e": ValueError(text), "f": text.encode()}
    assert secret not in str(redactor.fields(fields))


HARMLESS = (
    "relay leads",
    "0192f0c1-7a3e-7c1d-9b52-3f8e6d1c0a47",
    "/v1/orders/0192f0c1-7a3e-7c1d-9b52-3f8e6d1c0a47",
    'File "/weir/lib/python3.13/site-packages/asyncpg/connect_utils.py", line 1054, in _connect',
    "UnknownEventType: order.returned (version 3)",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "http://127.0.0.1:8000/health/ready",
    "ConnectionRefusedError: [Errno 111] connect call failed ('127.0.0.1', 5432)",
    "test_a_very_long_name_of_a_function_that_goes_on_and_on_and_on",
    "position=4711 stream_id=7 type=order.placed",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_helps_to_find_a_fault_is_told(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "new_password",
        "refresh_token",
        "Authorization",
        "set-cookie",
        "api_key",
        "encryption_keys",
        "dsn",
        "secret",
        "client_secrets",
        "x-api-key",
        "webhook-signature",
        "recipient",
        "email",
        "email_address",
    ],
)
def test_a_field_of_a_telling_name_is_hidden_whatever_it_holds(redactor: Redactor, name: str) -> None:
    assert redactor.fields({name: "a", "more": {name: 7}}) == {name: HIDDEN, "more": {name: HIDDEN}}
    assert redactor.fields({name: None}) == {name: None}


@pytest.mark.parametrize("name", ["token_issuer", "secretary", "mail_id", "key", "api_key_id", "kind", "position"])
def test_a_field_of_another_name_is_told(name: str) -> None:
    assert not is_telling(name)


@given(st.binary(min_size=30, max_size=60), st.sampled_from([b64encode, urlsafe_b64encode]), st.text(max_size=20))
@example(bytes(32), b64encode, "")
def test_a_random_key_behind_a_name_is_never_told(secret: bytes, written: Any, before: str) -> None:
    text = written(secret).decode()
    for form in ("{} token={}", "{} 'secret': '{}'", "{} api_key: {}", "{} Authorization: Bearer {}", "{} ?sig={}"):
        assert text not in Redactor().text(form.format(before, text))


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=8, max_size=40),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_one_s_own_secret_is_never_told_whatever_stands_around_it(secret: str, before: str, after: str) -> None:
    redactor = Redactor([secret])
    found = redactor.text(before.replace(secret, "") + "|" + secret + "|" + after.replace(secret, ""))
    assert secret not in found or secret in HIDDEN


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nothing_that_is_logged_makes_it_fail(value: Any) -> None:
    Redactor([PASSWORD]).fields({"value": value})


def test_the_secrets_of_settings_are_known() -> None:
    settings = Settings.model_validate(
        {
            "database_url": "postgresql://weir:of-the-database@db/weir",
            "redis_url": "redis+sentinel://:of-the-cache@one,two/mymaster/0?sentinel_password=of-the-sentinels",
            "encryption_keys": b64encode(bytes(range(32))).decode(),
            "payment_provider_key": SecretStr("of the provider's till"),
            "smtp_url": "smtp://u:of-the-mail@mail:25",
        }
    )
    known = secrets_of(settings)
    assert {"of-the-database", "of-the-cache", "of the provider's till", "of-the-mail", "of-the-sentinels"} <= known
    assert b64encode(bytes(range(32))).decode() in known
