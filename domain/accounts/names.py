"""Names that belong to one account at a time: an email and a username, and the form in which they are compared."""

import re
from itertools import pairwise
from typing import Final
from unicodedata import category

import idna

from domain.kernel.refusals import InvalidValue
from domain.values import code, foreign_id, normal_form
from domain.visibility import hides_nothing

LONGEST_EMAIL: Final = 254
LONGEST_LOCAL_PART: Final = 64
"""In bytes (RFC 5321, 4.5.3.1.1)."""
LONGEST_USERNAME: Final = 64

_JOINERS: Final = re.compile("[\u200c\u200d]")


def new_email(email: str) -> str:
    """The address as an account is to have it.

    Only a domain may have joiners in it: there IDNA says where they belong.
    """
    email = email.strip()
    if email_key(email).count("@") != 1:  # one in full width is a sign of the local part, and is none in its key
        raise InvalidValue("must be an email address", pointer="/email")
    local, _, domain = email.rpartition("@")
    if not hides_nothing(local) or not hides_nothing(_JOINERS.sub("", domain)):
        raise InvalidValue("must not contain invisible characters", pointer="/email")
    return email


def email_key(email: str) -> str:
    """The normal form of an email address: local part folded, domain folded and in its IDNA (ASCII) form."""
    local, at, domain = foreign_id(email.strip(), "/email", longest=LONGEST_EMAIL).rpartition("@")
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


def without_joiners(email: str) -> str:
    """The address with its domain in letters and without joiners: for rules that do not know where IDNA wants them.

    Raises what :func:`email_key` raises.
    """
    domain = email_key(email).rpartition("@")[2]
    return f"{email.strip().rpartition('@')[0]}@{_JOINERS.sub('', idna.decode(domain))}"


def new_username(username: str) -> str:
    """The name as an account is to have it: letters, each with its marks, digits, ``.``, ``_``, ``-``; nothing hidden.

    There is no ``@`` in it, because people sign in with either name: nobody may be called like another's address.
    """
    username = code(username, "/username", longest=LONGEST_USERNAME)
    for spelling in (username, username_key(username)):
        if any(_combines(sign) and not _carries(before) for before, sign in pairwise(f"-{spelling}")):
            raise InvalidValue("must have a letter before each mark", pointer="/username")
    return username


def username_key(username: str) -> str:
    """The normal form of a username, also of one that was taken before a rule for new ones came."""
    key = normal_form(foreign_id(username.strip(), "/username", longest=LONGEST_USERNAME))
    if not all(letter.isalnum() or letter in "._-" or _combines(letter) for letter in key):
        raise InvalidValue("may have letters, digits, '.', '_' and '-'", pointer="/username")
    return key


def _combines(sign: str) -> bool:
    """Vowels and tones of many scripts are marks that combine with the letter before them."""
    return category(sign) in ("Mn", "Mc")


def _carries(sign: str) -> bool:
    return sign.isalnum() or _combines(sign)
