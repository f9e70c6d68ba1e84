"""Names that belong to one account at a time: an email and a username, and the form in which they are compared."""

from typing import Final

from domain.errors import InvalidValue
from domain.values import line, normal_form

LONGEST_EMAIL: Final = 254
LONGEST_USERNAME: Final = 64


def email_key(email: str) -> str:
    """The normal form of an email address: local part folded, domain folded and in its IDNA (ASCII) form."""
    local, at, domain = line(email, "/email", longest=LONGEST_EMAIL).strip().rpartition("@")
    if not (local and at and domain):
        raise InvalidValue("must be an email address", pointer="/email")
    try:
        return f"{normal_form(local)}@{normal_form(domain).encode('idna').decode('ascii').lower()}"
    except UnicodeError:
        raise InvalidValue("must have a valid domain", pointer="/email") from None


def username_key(username: str) -> str:
    """The normal form of a username: letters, digits, ``.``, ``_``, ``-``.

    There is no ``@`` in it, because people sign in with either name: nobody may be called like another's address.
    """
    key = normal_form(line(username, "/username", longest=LONGEST_USERNAME))
    if not all(letter.isalnum() or letter in "._-" for letter in key):
        raise InvalidValue("may have letters, digits, '.', '_' and '-'", pointer="/username")
    return key
