"""Mails as people read them: text and HTML from templates, in a message that comes out the same at every attempt."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from infra.mail_ledger import Claimed
from infra.mailer import Envelope

SUBJECTS: Final[Mapping[str, str]] = {
    "order_confirmation": "Your order {{ order_no }}",
    "shipping_notice": "Your order {{ order_no }} is on its way",
}
"""Every kind of mail with its subject; its bodies are ``templates/<kind>.txt`` and ``templates/<kind>.html``."""


def compose(mail: Claimed, sender: str) -> Envelope:
    """The mail, ready to go. The same row gives the same bytes.

    Raises what Jinja raises for a template that asks for what the row does not have, and ``ValueError`` for a header
    that would be more than one line.
    """
    recipient = wire_address(mail.recipient)
    message = EmailMessage(policy=SMTP if recipient.isascii() else SMTPUTF8)
    message["From"] = _from(sender)
    local, _, domain = recipient.rpartition("@")
    message["To"] = Address(username=local, domain=domain)
    message["Subject"] = _subject(mail)
    message["Date"] = format_datetime(mail.created_at.astimezone(UTC))
    message["Message-ID"] = mail.message_id
    message["Auto-Submitted"] = "auto-generated"
    if mail.correlation is not None:
        message["X-Request-ID"] = mail.correlation
    message.set_content(_body(mail, "txt"), cte="quoted-printable")
    message.add_alternative(_body(mail, "html"), subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{mail.mail_id.hex}")
    return Envelope(sender=parseaddr(sender)[1], recipient=recipient, message=message.as_bytes())


def wire_address(email: str) -> str:
    """The address as SMTP takes it: the domain in ASCII. A local part beyond ASCII stays, and needs SMTPUTF8."""
    local, _, domain = email.rpartition("@")
    return f"{local}@{domain.encode('idna').decode('ascii')}"


def domain_of(sender: str) -> str:
    """The domain that our Message-IDs and greetings speak for."""
    return parseaddr(sender)[1].rpartition("@")[2]


def _subject(mail: Claimed) -> str:
    return _subject_template(mail.kind).render(mail.context)


@cache
def _subject_template(kind: str) -> Template:
    return _environment().from_string(SUBJECTS[kind])


@cache
def _from(sender: str) -> Any:
    """The header, parsed once: parsing headers is most of what a mail costs."""
    name, address = parseaddr(sender)
    return SMTP.header_factory("From", str(Address(display_name=name, addr_spec=address)))


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
    )
    environment.filters["moment"] = _moment
    return environment


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%d %B %Y, %H:%M UTC")
