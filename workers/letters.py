"""Letters: what mails say, in a message that comes out the same at every attempt."""

import re
from binascii import b2a_qp
from datetime import UTC
from email.headerregistry import Address
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime, parseaddr
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from infra.languages import FALLBACK, first_of
from infra.mail_ledger import Claimed
from infra.mailer import Envelope
from workers.wording import wording

_BOUNDARY: Final = b"=_weir"
"""RFC 2045 recommends such a one: quoted-printable text has no ``=_`` in it."""
_FIXED: Final = (
    b"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/alternative; boundary="%b"\r\n\r\n' % _BOUNDARY
)
_LINE: Final = 78
_PLAIN: Final = re.compile(r"[A-Za-z0-9<>@.,:+_-]+(?: [A-Za-z0-9<>@.,:+_-]+)*")
"""What needs neither encoding nor folding; most headers of most mails. To find that out by parsing takes as long as all
else of a mail."""
_SUBJECTS: Final = 256
"""How many headers that are not plain are remembered: the subjects of most mails are the same for all."""
_BREAKS: Final = re.compile(r"[\x00-\x20\x7f\x85\u2028\u2029]+")
_PART: Final = (
    b'--%b\r\nContent-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%b\r\n'
)


def compose(mail: Claimed, sender: str, language: str = FALLBACK) -> Envelope:
    """The mail, ready to go; in ``language`` if it has none of its own. The same row gives the same bytes.

    Raises what Jinja raises for a template that asks for what the row does not have, and ``ValueError`` for a header
    that would be more than one line. The standard library's own messages parse and fold every header of every part,
    which is three times the work of all else that a mail takes; only headers that are not plain go that way here.
    """
    words = wording(mail.kind, first_of(mail.language, language))
    shop = _shop(sender)
    context = {**mail.context, "shop": shop.name}
    subject = _BREAKS.sub(" ", words.subject.render(context)).strip()
    recipient = wire_address(mail.recipient)
    local, _, domain = recipient.rpartition("@")
    headers = {
        "To": str(Address(username=local, domain=domain)),
        "Subject": subject,
        "Date": format_datetime(mail.created_at.astimezone(UTC)),
        "Message-ID": mail.message_id,
        "Content-Language": words.language,
        **({} if mail.correlation is None else {"X-Request-ID": mail.correlation}),
    }
    policy = SMTP if recipient.isascii() else SMTPUTF8
    head = b"".join(header_line(policy, name, value) for name, value in headers.items())
    bodies = {b"plain": words.text.render(context), b"html": words.html.render(context, subject=subject)}
    parts = [_PART % (_BOUNDARY, kind, _printable(body)) for kind, body in bodies.items()]
    message = b"".join([shop.header, head, _FIXED, *parts, b"--%b--\r\n" % _BOUNDARY])
    return Envelope(sender=shop.address, recipient=recipient, message=message)


def header_line(policy: "EmailPolicy[Any]", name: str, value: str) -> bytes:
    """The header as it goes over the wire, encoded and folded."""
    if len(name) + 2 + len(value) <= _LINE and _PLAIN.fullmatch(value):
        return f"{name}: {value}\r\n".encode()
    if "\r" in value or "\n" in value:
        raise ValueError(f"Header {name} would be more than one line")
    return _folded(policy, name, value)


@lru_cache(_SUBJECTS)
def _folded(policy: "EmailPolicy[Any]", name: str, value: str) -> bytes:
    return policy.fold_binary(*policy.header_store_parse(name, value))


def _printable(text: str) -> bytes:
    """Quoted-printable, in lines of at most 76 bytes that end as mail wants them."""
    return b2a_qp("\r\n".join(text.splitlines()).encode(), istext=True)


def wire_address(email: str) -> str:
    """The address as SMTP takes it: the domain in ASCII. A local part beyond ASCII stays, and needs SMTPUTF8."""
    local, _, domain = email.rpartition("@")
    return f"{local}@{domain.encode('idna').decode('ascii')}"


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
    header = header_line(SMTP, "From", str(Address(display_name=name, addr_spec=address)))
    return _Shop(name or domain_of(sender), address, header)
