"""Letters: what mails say, in a message that comes out the same at every attempt."""

import re
from binascii import b2a_qp
from datetime import UTC
from email.header import Header
from email.headerregistry import Address
from email.utils import format_datetime, formataddr, parseaddr
from functools import cache, lru_cache
from typing import Final, NamedTuple

from domain.accounts import ascii_domain
from infra.locales import FALLBACK, first_of
from infra.mail.mailer import Envelope
from infra.mail.outbox import Claimed
from workers.mail.template_library import wording

_BOUNDARY: Final = b"=_weir"
"""RFC 2045 recommends such a one: quoted-printable text has no ``=_`` in it."""
_FIXED: Final = (
    b"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="%b"\r\n\r\n' % _BOUNDARY
)
_LINE: Final = 78
"""With its end; RFC 5322 recommends 80."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9<>@.,:+_-]+(?: [A-Za-z0-9<>@.,:+_-]+)*")
"""What needs no encoding; most headers of most mails."""
_SUBJECTS: Final = 256
"""How many headers that are not plain are remembered: the subjects of most mails are the same for all."""
_BREAKS: Final = re.compile(r"[\x00-\x20\x7f\x85\u2028\u2029]+")
_PART: Final = (
    b'--%b\r\nContent-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%b\r\n'
)


def build_message(mail: Claimed, sender: str, language: str = FALLBACK) -> Envelope:
    """The mail, ready to go; in ``language`` if it has none of its own. The same row gives the same bytes.

    Raises what Jinja raises for a template that asks for what the row does not have, and ``ValueError`` for a header
    that would be more than one line. No header is parsed on its way out: the standard library's own messages parse
    each, decode encoded words that somebody typed into it, and before Python 3.11.10 write out the line breaks that
    were in them (CVE-2024-6923). It is three times the work of all else that a mail takes, too.
    """
    words = wording(mail.kind, first_of(mail.language, language))
    shop = _shop(sender)
    context = {**mail.context, "shop": shop.name}
    subject = _BREAKS.sub(" ", words.subject.render(context)).strip()
    recipient = wire_address(mail.recipient)
    local, _, domain = recipient.rpartition("@")
    head = [
        header_line("To", Address(username=local, domain=domain).addr_spec),
        text_line("Subject", subject),
        header_line("Date", format_datetime(mail.created_at.astimezone(UTC))),
        header_line("Message-ID", mail.message_id),
        header_line("Content-Language", words.language),
        *([] if mail.correlation is None else [text_line("X-Request-ID", mail.correlation)]),
    ]
    bodies = {b"plain": words.text.render(context), b"html": words.html.render(context, subject=subject)}
    parts = [_PART % (_BOUNDARY, kind, _printable(body)) for kind, body in bodies.items()]
    message = b"".join([shop.header, *head, _FIXED, *parts, b"--%b--\r\n" % _BOUNDARY])
    return Envelope(sender=shop.address, recipient=recipient, message=message)


def header_line(name: str, value: str) -> bytes:
    """A header of a form of its own (an address, a moment, an id), as it goes over the wire: as it is, in UTF-8.

    Raises ``ValueError`` for a value of more than one line.
    """
    if value.splitlines() not in ([], [value]):
        raise ValueError(f"Header {name} would be more than one line")
    return f"{name}: {value}\r\n".encode()


def text_line(name: str, text: str) -> bytes:
    """A header that is words for people, as it goes over the wire: encoded and folded (RFC 2047) if it is not plain.

    Raises ``ValueError`` for a text of more than one line.
    """
    line = header_line(name, text)
    return line if len(line) <= _LINE and _PLAIN.fullmatch(text) else _encoded(name, text)


@lru_cache(_SUBJECTS)
def _encoded(name: str, text: str) -> bytes:
    words = Header(text, "utf-8", maxlinelen=_LINE - len("\r\n"), header_name=name).encode(linesep="\r\n")
    return f"{name}: {words}\r\n".encode()


def _printable(text: str) -> bytes:
    """Quoted-printable, in lines of at most 76 bytes that end as mail wants them."""
    return b2a_qp("\r\n".join(text.splitlines()).encode(), istext=True)


def wire_address(email: str) -> str:
    """The address as SMTP takes it: the domain in ASCII. A local part beyond ASCII stays, and needs SMTPUTF8."""
    local, _, domain = email.rpartition("@")
    return f"{local}@{domain if domain.isascii() else ascii_domain(domain)}"


def domain_of(sender: str) -> str:
    """The domain that our Message-IDs and greetings speak for."""
    return parseaddr(sender)[1].rpartition("@")[2]


class _Shop(NamedTuple):
    name: str
    address: str
    header: bytes


@cache
def _shop(sender: str) -> _Shop:
    name, address = parseaddr(sender)
    return _Shop(name or domain_of(sender), address, header_line("From", formataddr((name, address))))
