"""The mail sink: what it says 250 to is a file, and what a stranger has written stays harmless in the browser."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import httpx2
import pytest
from aiosmtpd.smtp import Envelope

from cli import mailsink
from cli.mailsink.mailbox import create_mailbox
from cli.supervisor.programs import WEIR, Program
from cli.supervisor.runner import Runner
from infra.embedded import free_ports

pytestmark = pytest.mark.anyio

SANDBOX = "allow-popups allow-popups-to-escape-sandbox"


@dataclass(frozen=True, kw_only=True)
class Sink:
    directory: Path
    smtp_port: int
    url: str

    async def send(self, mail: EmailMessage | bytes, sender: str = "shop@weir.example") -> None:
        await aiosmtplib.send(
            mail,
            sender=sender,
            recipients=["ann@example.com", "bob@example.com"],
            port=self.smtp_port,
            hostname="127.0.0.1",
        )

    def kept(self) -> list[Path]:
        return sorted(self.directory.glob("*.eml"))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Sink]:
    smtp, http = free_ports(2)
    sink = Sink(directory=folder / "mail", smtp_port=smtp, url=f"http://127.0.0.1:{http}")
    options = ("--port", str(smtp), "--http-port", str(http), "--dir", str(sink.directory))
    program = Program(name="mailsink", argv=(*WEIR, "mailsink", *options), ready_url=f"{sink.url}/health/ready")
    runner = Runner(program, folder, os.environ, ready_seconds=30, drain_seconds=5)
    await runner.start()
    try:
        yield sink
    finally:
        assert await runner.process.stop() == 0


def a_mail(subject: str = "Hello", html: str = "<b>hello</b>") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"], mail["Message-ID"] = (
        "shop@weir.example",
        "ann@example.com",
        subject,
        "<1@x>",
    )
    mail.set_content("hello in text")
    mail.add_alternative(html, subtype="html")
    return mail


async def test_a_mail_that_was_accepted_is_a_whole_file_with_its_envelope(tmp_path: Path) -> None:
    async with running(tmp_path) as sink:
        await sink.send(a_mail())
        [path] = sink.kept()
    kept = message_from_bytes(path.read_bytes())
    assert kept["Message-ID"] == "<1@x>"
    assert kept["Return-Path"] == "<shop@weir.example>"
    assert kept["X-Envelope-To"] == "ann@example.com, bob@example.com"
    assert [each.name for each in sink.directory.iterdir()] == [path.name]


async def test_mails_are_named_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    async with running(tmp_path) as sink:
        for number in range(5):
            await sink.send(a_mail(f"mail {number}"))
        subjects = [message_from_bytes(path.read_bytes())["Subject"] for path in sink.kept()]
    assert subjects == [f"mail {number}" for number in range(5)]


async def test_a_mail_offered_again_by_a_sender_that_missed_the_answer_is_kept_once(tmp_path: Path) -> None:
    async with running(tmp_path) as sink:
        hello = a_mail("hello")
        hello.set_boundary("=_the_same")
        await sink.send(hello)
        await sink.send(hello)
        assert len(sink.kept()) == 1
        await sink.send(a_mail("hello, but different"))
        assert len(sink.kept()) == 2
        sink.kept()[0].unlink()
        await sink.send(hello)
        assert len(sink.kept()) == 2
    async with running(tmp_path) as sink:
        await sink.send(hello)
        assert len(sink.kept()) == 2


def bodies(folder: Path) -> list[bytes]:
    return [path.read_bytes()[-1:] for path in sorted(folder.glob("*.eml"))]


async def test_the_oldest_mails_go_when_there_are_too_many_also_those_of_the_run_before(tmp_path: Path) -> None:
    for first in (0, 5):
        sink = mailsink.Sink(tmp_path, most=3)
        for number in range(first, first + 5):
            envelope = Envelope()
            envelope.original_content = b"Message-ID: <%d@weir.example>\r\n\r\n%d" % (number, number)
            assert (await sink.handle_DATA(None, None, envelope)).startswith("250")  # type: ignore[arg-type]
        assert bodies(tmp_path) == [b"%d" % number for number in range(first + 2, first + 5)]


async def test_a_mail_that_cannot_be_kept_is_put_off_not_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as sink:
        shutil.rmtree(sink.directory)
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await sink.send(a_mail())
        assert refused.value.code == 452


async def test_the_mailbox_lists_the_newest_first_and_shows_both_parts(tmp_path: Path) -> None:
    async with running(tmp_path) as sink, httpx2.AsyncClient(base_url=sink.url) as browser:
        await sink.send(a_mail("first"))
        await sink.send(a_mail("second, für Jörg"))
        listed = (await browser.get("/")).text
        assert listed.index("second, für Jörg") < listed.index("first")
        name = sink.kept()[-1].name
        shown = (await browser.get(f"/message/{name}")).text
        assert "hello in text" in shown
        assert f'<iframe sandbox="{SANDBOX}" src="/message/{name}/html"' in shown
        assert "<b>hello</b>" in (await browser.get(f"/message/{name}/html")).text
        assert "Message-ID: <1@x>" in (await browser.get(f"/message/{name}/raw")).text


async def test_a_link_in_a_mail_opens_outside_of_the_frame_that_shows_it(tmp_path: Path) -> None:
    """The page behind it lets nobody frame it."""
    (tmp_path / "1.eml").write_bytes(
        b'Content-Type: text/html\r\n\r\n<html><HEAD lang="en"><title>x</title></head><a href="/y">y</a></html>'
    )
    transport = httpx2.ASGITransport(app=create_mailbox(tmp_path))
    async with httpx2.AsyncClient(base_url="http://localhost", transport=transport) as browser:
        html = await browser.get("/message/1.eml/html")
        assert html.text.startswith('<html><HEAD lang="en"><base target="_blank"><title>')
        assert html.headers["Referrer-Policy"] == "no-referrer"


async def test_what_a_mail_contains_cannot_run_or_call_home(tmp_path: Path) -> None:
    script = "<script>alert(1)</script>"
    async with running(tmp_path) as sink, httpx2.AsyncClient(base_url=sink.url) as browser:
        await sink.send(a_mail(script, html=script))
        name = sink.kept()[0].name
        for page in ("/", f"/message/{name}"):
            answer = await browser.get(page)
            assert script not in answer.text
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        html = await browser.get(f"/message/{name}/html")
        assert html.headers["Content-Security-Policy"].startswith(f"sandbox {SANDBOX}; default-src 'none'")


BROKEN = (
    b"",
    b"no headers at all",
    b"Subject: \xff\xfe\r\nTo: \xed\xa0\x80\r\n\r\n\xff",
    b"Subject: =?utf-8?b?////?= =?utf-8?q?=ED=A0=80?=\r\n\r\n",
    b"Subject: =?nonsense?q?x?=\r\nContent-Type: text/html; charset=nonsense\r\n\r\n<p>\xe4</p>",
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed\r\n\r\n",
    b'From: @@@ <<>>\r\nTo: "\r\nDate: never\r\nMessage-ID: <<\r\n\r\n',
)


async def test_a_broken_mail_is_shown_as_well_as_it_can_be(tmp_path: Path) -> None:
    async with running(tmp_path) as sink, httpx2.AsyncClient(base_url=sink.url) as browser:
        for number, source in enumerate(BROKEN):
            (sink.directory / f"{number}.eml").write_bytes(source)
            for page in ("/", f"/message/{number}.eml", f"/message/{number}.eml/html", f"/message/{number}.eml/raw"):
                answer = await browser.get(page)
                assert answer.status_code == 200, source


async def test_only_mails_can_be_read(tmp_path: Path) -> None:
    async with running(tmp_path) as sink, httpx2.AsyncClient(base_url=sink.url) as browser:
        (tmp_path / "secrets.json").write_text("{}")
        (sink.directory / ".draft.new").write_text("half a mail")
        for name in (".draft.new", "missing.eml", "..%2Fsecrets.json", "%2Fetc%2Fpasswd", ".eml", "a%00.eml"):
            assert (await browser.get(f"/message/{name}/raw")).status_code == 404, name


async def test_another_web_site_cannot_read_the_mailbox_through_the_browser(tmp_path: Path) -> None:
    async with running(tmp_path) as sink, httpx2.AsyncClient(base_url=sink.url) as browser:
        assert (await browser.get("/", headers={"Host": "evil.example"})).status_code == 400
