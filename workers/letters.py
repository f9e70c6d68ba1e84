"""Mails as people read them: text and HTML from templates, in a message that comes out the same at every attempt."""

import re
from binascii import b2a_qp
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime, parseaddr
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from infra.mail_ledger import Claimed
from infra.mailer import Envelope

SUBJECTS: Final[Mapping[str, str]] = {
    "order_confirmation": "Your order {{ order_no }}",
    "shipping_notice": "Your order {{ order_no }} is on its way",
    "payment_received": "We have your payment for order {{ order_no }}",
    "payment_reminder": "Your order {{ order_no }} waits for your payment",
    "order_cancelled": "Your order {{ order_no }} is cancelled",
    "payment_returned": "Your payment for order {{ order_no }} goes back to you",
    "verify_email": "Please confirm your address",
    "password_reset": "Choose a new password",
    "password_changed": "Your password has been changed",
}
"""Every kind of mail with its subject; its bodies are ``templates/<kind>.txt`` and ``templates/<kind>.html``."""


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
_PART: Final = (
    b'--%b\r\nContent-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%b\r\n'
)


def compose(mail: Claimed, sender: str) -> Envelope:
    """The mail, ready to go. The same row gives the same bytes.

    Raises what Jinja raises for a template that asks for what the row does not have, and ``ValueError`` for a header
    that would be more than one line. The standard library's own messages parse and fold every header of every part,
    which is three times the work of all else that a mail takes; only headers that are not plain go that way here.
    """
    recipient = wire_address(mail.recipient)
    local, _, domain = recipient.rpartition("@")
    headers = {
        "To": str(Address(username=local, domain=domain)),
        "Subject": _subject_template(mail.kind).render(mail.context),
        "Date": format_datetime(mail.created_at.astimezone(UTC)),
        "Message-ID": mail.message_id,
        **({} if mail.correlation is None else {"X-Request-ID": mail.correlation}),
    }
    policy = SMTP if recipient.isascii() else SMTPUTF8
    head = b"".join(header_line(policy, name, value) for name, value in headers.items())
    parts = [
        _PART % (_BOUNDARY, kind, _printable(_body(mail, form)))
        for kind, form in ((b"plain", "txt"), (b"html", "html"))
    ]
    message = b"".join([_from(sender), head, _FIXED, *parts, b"--%b--\r\n" % _BOUNDARY])
    return Envelope(sender=parseaddr(sender)[1], recipient=recipient, message=message)


def header_line(policy: "EmailPolicy[Any]", name: str, value: str) -> bytes:
    """The header as it goes over the wire, encoded and folded."""
    if len(name) + 2 + len(value) <= _LINE and _PLAIN.fullmatch(value):
        return f"{name}: {value}\r\n".encode()
    if "\r" in value or "\n" in value:
        raise ValueError(f"Header {name} would be more than one line")
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


@cache
def _subject_template(kind: str) -> Template:
    return _environment().from_string(SUBJECTS[kind])


@cache
def _from(sender: str) -> bytes:
    name, address = parseaddr(sender)
    return header_line(SMTP, "From", str(Address(display_name=name, addr_spec=address)))


def _body(mail: Claimed, form: str) -> str:
    return _environment().get_template(f"{mail.kind}.{form}").render(mail.context)


@cache
def _environment() -> Environment:
    """HTML is escaped, text is not, and a name that the context does not have is an error and no blank."""
    environment = Environment(
        loader=PackageLoader("workers"),
        autoescape=select_autoescape(("html",), default=False, default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters["moment"] = _moment
    return environment


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%d %B %Y, %H:%M UTC")
