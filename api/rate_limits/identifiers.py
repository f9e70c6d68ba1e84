"""The name or address that a body is about, in normal form: what a limit can count before anybody is looked up."""

from typing import Final
from urllib.parse import parse_qs

import orjson

from domain.accounts import email_key, username_key
from domain.kernel.refusals import InvalidValue

_MOST_FIELDS: Final = 50


def name_in_form(body: bytes) -> str | None:
    """The ``username`` of a form, an email or a username. None if it can be nobody's."""
    try:
        names = parse_qs(body.decode("utf-8"), max_num_fields=_MOST_FIELDS).get("username", [])
        return _key(names[0]) if len(names) == 1 else None
    except ValueError:
        return None


def email_in_json(body: bytes) -> str | None:
    """The ``email`` of a JSON object. None if it can be nobody's."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    email = document.get("email") if isinstance(document, dict) else None
    return _key(email) if isinstance(email, str) and "@" in email else None


def _key(name: str) -> str | None:
    try:
        return email_key(name) if "@" in name else username_key(name)
    except InvalidValue:
        return None
