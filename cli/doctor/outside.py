"""What is outside: the mail server, the payment provider, the storage. Nothing is sent, asked for or left there."""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx2
from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.errors import Unavailable
from infra.host import network_errors
from infra.mail.mailer import PORTS
from infra.storage import open_storage

CONNECT_SECONDS: Final = 3.0
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_PROBE: Final = b"weir doctor"


async def mail(patient: Patient) -> Sequence[Finding]:
    """It answers, greets, takes TLS and our login."""
    url = urlsplit(patient.settings.smtp_url.get_secret_value())
    port = url.port or PORTS[url.scheme]
    place = network_errors.place(url.hostname, port)
    client = SMTP(
        hostname=url.hostname, port=port, use_tls=url.scheme == "smtps", start_tls=False, timeout=CONNECT_SECONDS
    )
    try:
        await client.connect()
        await client.ehlo()
        offers = client.supports_extension("starttls")
        if url.scheme == "starttls":
            await client.starttls()
        if url.username:
            await client.login(unquote(url.username), unquote(url.password or ""))
    except SMTPResponseException as error:
        return [_no_mail(f"the mail server at {place} answers {error.code}")]
    except (SMTPException, OSError, TimeoutError, ValueError) as error:
        return [_no_mail(f"the mail server at {place} cannot be used: {network_errors.cause(error)}")]
    finally:
        client.close()
    if url.scheme == "smtp" and url.hostname not in _HERE:
        fix = f"WEIR_SMTP_URL={'starttls' if offers else 'smtps'}://…"
        return [advice(f"mails go to {place} in clear", "whoever is on the way reads links to new passwords", fix)]
    return []


def _no_mail(told: str) -> Finding:
    return problem(told, "mails wait, and are given up after WEIR_MAIL_DAYS", "WEIR_SMTP_URL, or mend the server")


async def provider(patient: Patient) -> Sequence[Finding]:
    """It answers, whatever it says of a page that there is not."""
    settings = patient.settings
    if settings.payment_provider_url is None:
        told = "WEIR_PAYMENT_PROVIDER_URL is not set"
        return [advice(told, "money that is owed back stays owed", "WEIR_PAYMENT_PROVIDER_URL, and its key")]
    try:
        async with httpx2.AsyncClient(timeout=CONNECT_SECONDS, follow_redirects=False, trust_env=False) as client:
            await client.head(settings.payment_provider_url)
    except httpx2.TransportError as error:
        told = f"the payment provider cannot be reached: {network_errors.cause(error)}"
        return [problem(told, "refunds wait", "WEIR_PAYMENT_PROVIDER_URL, the line, or a proxy on the way")]
    return []


async def storage(patient: Patient) -> Sequence[Finding]:
    """A file is put, read and deleted."""
    kept, key = open_storage(patient.settings), f"doctor/{uuid4()}.csv"
    try:
        await kept.put(key, _once(), content_type="text/csv")
        blob = await kept.open(key)
        read = b"".join([chunk async for chunk in blob.chunks]) if blob else b""
        await kept.delete(key)
    except Unavailable as error:
        return [_no_files(str(error))]
    return [] if read == _PROBE else [_no_files("what was put there is not what was read")]


def _no_files(told: str) -> Finding:
    return problem(told, "pictures and imports are refused", "WEIR_STORAGE_URL, its rights, or its disk")


async def _once() -> AsyncIterator[bytes]:
    yield _PROBE
