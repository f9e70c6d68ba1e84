"""Fields of bodies that are secrets: none can be forgotten."""

import pytest

from api.schemas import Body, Secret, secrets_of


class Marked(Body):
    """Two secrets and a name."""

    name: str
    password: Secret
    hint: Secret | None = None


class Deep(Body):
    """A secret where nobody would leave it out."""

    inner: Marked


def test_secrets_are_known_by_their_mark_in_optional_fields_and_bodies_too() -> None:
    assert secrets_of(Marked) == secrets_of(Marked | None) == {"password", "hint"}
    assert secrets_of(int) == frozenset()


@pytest.mark.parametrize("name", ["password", "new_password", "refresh_token", "secret", "pin", "card_pin", "otp"])
def test_a_field_that_sounds_like_a_secret_must_be_marked(name: str) -> None:
    body = type("Forgotten", (Body,), {"__annotations__": {name: str}})
    with pytest.raises(TypeError, match=f"make {name} an api.schemas.Secret"):
        secrets_of(body)


@pytest.mark.parametrize("name", ["pinned", "shipping_address", "name", "spin"])
def test_a_field_that_only_looks_a_little_like_one_need_not(name: str) -> None:
    assert secrets_of(type("Harmless", (Body,), {"__annotations__": {name: str}})) == frozenset()


def test_a_secret_deeper_in_a_body_is_refused() -> None:
    with pytest.raises(TypeError, match="a field of the body itself"):
        secrets_of(Deep)
