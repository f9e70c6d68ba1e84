"""Names that belong to one account at a time: an email and a username, and the form in which they are compared."""

from typing import Final
from unicodedata import category

import idna

from domain.kernel.refusals import InvalidValue
from domain.values import line, normal_form

LONGEST_EMAIL: Final = 254
LONGEST_LOCAL_PART: Final = 64
"""In bytes (RFC 5321, 4.5.3.1.1)."""
LONGEST_USERNAME: Final = 64


def email_key(email: str) -> str:
    """The normal form of an email address: local part folded, domain folded and in its IDNA (ASCII) form."""
    local, at, domain = line(email, "/email", longest=LONGEST_EMAIL).strip().rpartition("@")
    if not (local and at and domain) or len(local.encode()) > LONGEST_LOCAL_PART:
        raise InvalidValue("must be an email address", pointer="/email")
    try:
        return f"{normal_form(local)}@{ascii_domain(domain)}"
    except UnicodeError:
        raise InvalidValue("must have a valid domain", pointer="/email") from None


def ascii_domain(domain: str) -> str:
    """The domain as it is asked for: IDNA 2008 over UTS 46, so that ``faß.de`` is not ``fass.de``.

    Raises :class:`UnicodeError`.
    """
    return idna.encode(domain, uts46=True, transitional=False).decode("ascii").lower()


def username_key(username: str) -> str:
    """The normal form of a username: letters, digits, ``.``, ``_``, ``-``.

    There is no ``@`` in it, because people sign in with either name: nobody may be called like another's address.
    """
    key = normal_form(line(username, "/username", longest=LONGEST_USERNAME))
    if not all(letter.isalnum() or letter in "._-" or _belongs_to_a_letter(letter) for letter in key):
        raise InvalidValue("may have letters, digits, '.', '_' and '-'", pointer="/username")
    return key


def _belongs_to_a_letter(sign: str) -> bool:
    """Vowels and tones of many scripts are marks that combine with the letter before them."""
    return category(sign) in ("Mn", "Mc")
