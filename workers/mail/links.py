"""Links that mails carry: which kind has one, and how it comes into a mail only when that is composed.

A link has the id of its mail, and its token is derived from that. So nothing that opens an account lies in the ledger.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from infra.identity.one_time_links import Links, Lives, Purpose
from infra.locales import first_of
from infra.mail.outbox import Claimed

LINKED: Final[Mapping[str, Purpose]] = {
    "verify_email": Purpose.VERIFY_EMAIL,
    "password_reset": Purpose.RESET_PASSWORD,
}
"""The kinds of mail that carry a link."""


class Linker:
    """Puts links into mails. ``pages_url`` is where their pages are, ``language`` that of mails without their own."""

    def __init__(self, links: Links, pages_url: str, lives: Lives, language: str) -> None:
        self._links = links
        self._lives = lives
        self._pages_url = pages_url
        self._language = language

    async def complete(self, mail: Claimed) -> Claimed:
        """The mail with its ``link``, if it has one, and how many seconds that ``lives``.

        Raises :class:`~infra.errors.Unavailable`.
        """
        purpose = LINKED.get(mail.kind)
        if purpose is None:
            return mail
        token = await self._links.token(purpose, mail.mail_id)
        language = first_of(mail.language, self._language)
        return linked(mail, link_to(self._pages_url, purpose, token, language), self._lives[purpose])


def link_to(pages_url: str, purpose: Purpose, token: str, language: str) -> str:
    """The address of the page that has the purpose's name; it speaks the language of the mail."""
    return f"{pages_url.rstrip('/')}/{purpose}?token={token}&lang={language}"


def linked(mail: Claimed, link: str, lives: timedelta) -> Claimed:
    """The mail with that link in it."""
    return replace(mail, context={**mail.context, "link": link, "lives": int(lives.total_seconds())})
