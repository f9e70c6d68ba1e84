"""Links that mails carry: which kind has one, and how it comes into a mail only when that is composed.

A link has the id of its mail, and its token is derived from that. So nothing that opens an account lies in the ledger.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from infra.identity.one_time_links import Links, Lives, Purpose
from infra.mail.outbox import Claimed

LINKED: Final[Mapping[str, Purpose]] = {
    "verify_email": Purpose.VERIFY_EMAIL,
    "password_reset": Purpose.RESET_PASSWORD,
}
"""The kinds of mail that carry a link."""


class Linker:
    """Puts links into mails. ``public_url`` is where the shop's pages are; each purpose has a page of its name."""

    def __init__(self, links: Links, public_url: str, lives: Lives) -> None:
        self._links = links
        self._lives = lives
        self._base = public_url.rstrip("/")

    async def complete(self, mail: Claimed) -> Claimed:
        """The mail with its ``link``, if it has one, and how many seconds that ``lives``.

        Raises :class:`~infra.errors.Unavailable`.
        """
        purpose = LINKED.get(mail.kind)
        if purpose is None:
            return mail
        token = await self._links.token(purpose, mail.mail_id)
        return linked(mail, f"{self._base}/{purpose}?token={token}", self._lives[purpose])


def linked(mail: Claimed, link: str, lives: timedelta) -> Claimed:
    """The mail with that link in it."""
    return replace(mail, context={**mail.context, "link": link, "lives": int(lives.total_seconds())})
