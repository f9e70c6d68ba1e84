"""Wrapped secrets: they open where they belong, under the keys that were told, and nowhere else."""

from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode

import pytest
from pydantic import SecretStr, ValidationError

from infra.errors import CannotUnwrap, NoEncryptionKey
from infra.identity.key_wrapping import NONCE_BYTES, KeyWrapping
from infra.identity.signing_keys import generate, unwrapped, wrapped
from infra.settings import Settings

OLD, NEW = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))
PLACE, SECRET = "signing_keys k1", b"what nobody may read"


def under(*keys: str) -> KeyWrapping:
    return KeyWrapping([SecretStr(key) for key in keys])


def test_what_was_wrapped_is_unwrapped_and_shows_nothing_meanwhile() -> None:
    text = under(OLD).wrap(SECRET, PLACE)
    assert under(OLD).unwrap(text, PLACE) == SECRET
    assert SECRET not in text.encode()
    assert SECRET not in urlsafe_b64decode(text.rpartition(".")[2])


def test_the_same_secret_is_never_wrapped_the_same_way_twice() -> None:
    """A nonce that came again would give the cipher away (NIST SP 800-38D, 8)."""
    wrapping = under(OLD)
    nonces = {urlsafe_b64decode(wrapping.wrap(SECRET, PLACE).rpartition(".")[2])[:NONCE_BYTES] for _ in range(100)}
    assert len(nonces) == 100


def test_the_first_key_wraps_and_all_unwrap() -> None:
    before = under(OLD).wrap(SECRET, PLACE)
    both = under(NEW, OLD)
    assert both.unwrap(before, PLACE) == SECRET
    after = both.wrap(SECRET, PLACE)
    assert under(NEW).unwrap(after, PLACE) == SECRET
    with pytest.raises(CannotUnwrap):
        under(OLD).unwrap(after, PLACE)


def changed(text: str, at: int) -> str:
    sealed = bytearray(urlsafe_b64decode(text.rpartition(".")[2]))
    sealed[at] ^= 1
    return f"{text.rpartition('.')[0]}.{urlsafe_b64encode(sealed).decode()}"


GOOD = under(OLD).wrap(SECRET, PLACE)
ID = GOOD.split(".")[1]


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        (GOOD, "signing_keys k2", "is not what was wrapped there"),
        (GOOD, "server_secret", "is not what was wrapped there"),
        (changed(GOOD, 0), PLACE, "is not what was wrapped there"),
        (changed(GOOD, NONCE_BYTES), PLACE, "is not what was wrapped there"),
        (changed(GOOD, -1), PLACE, "is not what was wrapped there"),
        (f"v1.{ID}.", PLACE, "is not what was wrapped there"),
        (f"v1.{ID}.A", PLACE, "is not what was wrapped there"),
        (f"v1.{ID}.\u00e9", PLACE, "is not what was wrapped there"),
        (under(NEW).wrap(SECRET, PLACE), PLACE, "which is not in WEIR_ENCRYPTION_KEYS"),
        (GOOD.replace("v1", "v2", 1), PLACE, "a form that this release does not know"),
        ("-----BEGIN PRIVATE KEY-----", PLACE, "a form that this release does not know"),
        ("", PLACE, "a form that this release does not know"),
    ],
    ids=range(12),
)
def test_what_is_not_in_its_place_or_not_whole_opens_nowhere(text: str, place: str, why: str) -> None:
    with pytest.raises(CannotUnwrap, match=why) as refused:
        under(OLD).unwrap(text, place)
    assert str(refused.value).startswith(place)
    assert refused.value.__cause__ is None


def test_a_signing_key_opens_under_its_own_id_alone() -> None:
    key, other = generate(), generate()
    text = wrapped(key, under(OLD))
    assert unwrapped(key.kid, text, under(OLD)).pem() == key.pem()
    with pytest.raises(CannotUnwrap):
        unwrapped(other.kid, text, under(OLD))


def test_without_a_key_nothing_is_wrapped_and_it_is_said_what_to_do() -> None:
    with pytest.raises(NoEncryptionKey, match="openssl rand -base64 32"):
        KeyWrapping(Settings(encryption_keys=()).encryption_keys)


def test_keys_show_themselves_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_ENCRYPTION_KEYS", f"{NEW}, {OLD}")
    settings = Settings()
    assert [key.get_secret_value() for key in settings.encryption_keys] == [NEW, OLD]
    assert NEW not in repr(settings) + repr(KeyWrapping(settings.encryption_keys))


@pytest.mark.parametrize("key", ["a password", "x" * 43, b64encode(bytes(31)).decode(), b64encode(bytes(65)).decode()])
def test_what_can_be_guessed_is_no_encryption_key(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("WEIR_ENCRYPTION_KEYS", f"{NEW},{key}")
    with pytest.raises(ValidationError, match="base64 of 32 to 64 random bytes"):
        Settings()
