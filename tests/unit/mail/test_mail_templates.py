"""Letters: what a mail looks like on the wire, and that nothing a customer typed can bend it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from jinja2 import UndefinedError

from infra.identity.one_time_links import Purpose, lives_of
from infra.mail.outbox import Claimed
from infra.settings import Settings
from tests.unit.mail.test_reactions import CANCELLED, CHANGED, LATE, PAID, PLACED, REGISTERED, RESET_ASKED, SHIPPED
from workers.mail.links import linked
from workers.mail.message import build_message, domain_of, header_line, text_line, wire_address
from workers.mail.reactions import react

SENDER = "Weir <shop@weir.example>"
CONFIRMATION, NOTICE, VERIFY, RESET, TOLD, RECEIVED, CANCELLATION, GOES_BACK = (
    Claimed(
        mail_id=UUID(int=number),
        kind=due.kind,
        recipient="ada@example.com",
        language=None,
        context={**due.context, "username": "ada"},
        message_id=f"<{UUID(int=number).hex}@weir.example>",
        correlation="req-42",
        attempts=1,
        created_at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
    )
    for number, (due,) in enumerate(
        map(react, (PLACED, SHIPPED, REGISTERED, RESET_ASKED, CHANGED, PAID, CANCELLED, LATE))
    )
)
LINK = "https://shop.example/reset-password?token=" + "A-z_" * 16


REMINDER = replace(
    RECEIVED,
    kind="payment_reminder",
    context={
        "username": "ada",
        "order_no": "W-2026-7K3M9QXA",
        "total": "13.16 EUR",
        "expires_at": "2026-03-01T12:30:00+00:00",
    },
)


def read(mail: Claimed) -> EmailMessage:
    parsed = message_from_bytes(build_message(mail, SENDER).message, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def text(mail: Claimed, form: str = "plain") -> str:
    body = read(mail).get_body((form,))
    assert body is not None
    content: str = body.get_content()
    return content


def test_a_confirmation_tells_what_was_ordered_and_what_it_costs() -> None:
    for form in ("plain", "html"):
        content = text(CONFIRMATION, form)
        for part in ("W-2026-7K3M9QXA", "ada", "Green tea", "TEA-1", "€4.10", "€12.30", "€0.86", "€13.16"):
            assert part in content
        assert "1 March 2026, 12:30 UTC" in content
        assert "89073 Ulm" in content


def test_a_shipping_notice_tells_carrier_and_tracking_number() -> None:
    for form in ("plain", "html"):
        content = text(NOTICE, form)
        assert all(part in content for part in ("W-2026-7K3M9QXA", "DHL", "JD01460003"))


def test_a_payment_and_a_reminder_tell_the_order_and_the_money() -> None:
    for mail in (RECEIVED, REMINDER):
        assert "W-2026-7K3M9QXA" in read(mail)["Subject"]
        for form in ("plain", "html"):
            assert all(part in text(mail, form) for part in ("W-2026-7K3M9QXA", "ada", "€13.16"))
    assert all("1 March 2026, 12:30 UTC" in text(REMINDER, form) for form in ("plain", "html"))


def test_a_cancellation_tells_who_ended_the_order_and_why() -> None:
    assert "Reason: <sold out>" in text(CANCELLATION)
    assert "Reason: &lt;sold out&gt;" in text(CANCELLATION, "html")
    for by, words in (("staff", "we had to cancel"), ("expiry", "time to be paid is over"), ("customer", "you wished")):
        mail = replace(CANCELLATION, context={**CANCELLATION.context, "by": by, "reason": None})
        for form in ("plain", "html"):
            assert words in text(mail, form)
            assert "Reason" not in text(mail, form)


def test_money_that_goes_back_is_told_with_its_amount_and_why() -> None:
    assert read(GOES_BACK)["Subject"] == "Your payment for order W-2026-7K3M9QXA goes back to you"
    for was, words in (("cancelled", "was cancelled before"), ("refunded", "was refunded"), ("paid", "paid already")):
        mail = replace(GOES_BACK, context={**GOES_BACK.context, "was": was})
        for form in ("plain", "html"):
            assert all(part in text(mail, form) for part in ("W-2026-7K3M9QXA", "ada", "€13.16", words))


@pytest.mark.parametrize(
    ("mail", "purpose", "minutes", "lives"),
    [
        (VERIFY, Purpose.VERIFY_EMAIL, 10, "within 7 days"),
        (RESET, Purpose.RESET_PASSWORD, 10, "within 10 minutes"),
        (RESET, Purpose.RESET_PASSWORD, 60, "within 1 hour"),
    ],
)
def test_a_mail_with_a_link_carries_it_whole_in_both_forms_and_says_how_long_it_lives(
    mail: Claimed, purpose: Purpose, minutes: int, lives: str
) -> None:
    complete = linked(mail, LINK, lives_of(Settings(password_reset_minutes=minutes))[purpose])
    assert LINK in text(complete).split("\r\n")
    assert f'href="{LINK}"' in text(complete, "html")
    for form in ("plain", "html"):
        assert "ada" in text(complete, form)
        assert lives in text(complete, form)
        assert "order" not in text(complete, form).replace("border", "")
    with pytest.raises(UndefinedError):
        build_message(mail, SENDER)


def test_who_is_new_is_welcomed_and_who_asks_again_is_told_that_the_older_link_is_dead() -> None:
    first = linked(VERIFY, LINK, lives_of(Settings())[Purpose.VERIFY_EMAIL])
    again = replace(first, context={**first.context, "again": True})
    for form in ("plain", "html"):
        assert "welcome to Weir" in text(first, form)
        assert "welcome" not in text(again, form)
        assert "The one before it works no more." in text(again, form)


def test_a_new_password_is_told_of_and_what_it_ended() -> None:
    owner = replace(TOLD, context={**TOLD.context, "by": "owner"})
    for form in ("plain", "html"):
        assert "signed out everywhere." in text(TOLD, form)
        assert "by a link that we mailed to you" in text(TOLD, form)
        assert "signed out everywhere else." in text(owner, form)
        assert "a link" not in text(owner, form)


def test_a_mail_says_who_wrote_it_when_and_why() -> None:
    message = read(CONFIRMATION)
    assert message["From"] == "Weir <shop@weir.example>"
    assert message["To"] == "ada@example.com"
    assert message["Subject"] == "Your order W-2026-7K3M9QXA"
    assert message["Date"].datetime == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert message["Message-ID"] == CONFIRMATION.message_id
    assert message["Content-Language"] == "en"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Request-ID"] == "req-42"
    assert message.get_content_type() == "multipart/alternative"


def test_the_same_row_gives_the_same_bytes_at_every_attempt() -> None:
    assert build_message(CONFIRMATION, SENDER) == build_message(replace(CONFIRMATION, attempts=9), SENDER)


def test_lines_end_as_smtp_wants_them_and_none_is_too_long() -> None:
    lines = build_message(CONFIRMATION, SENDER).message.split(b"\r\n")
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    assert max(len(line) for line in lines) <= 998


@pytest.mark.parametrize(
    "name",
    [
        "x" * 500,
        "tea \u2615 f\u00fcr J\u00f6rg",
        "a=3D b",
        "--=_weir",
        "--=_weir--",
        "=_weir",
        ".",
        "From me",
        "trailing  ",
    ],
)
def test_a_name_of_any_kind_arrives_as_it_was_and_breaks_no_part(name: str) -> None:
    mail = replace(CONFIRMATION, context={**CONFIRMATION.context, "shipping_address": [name]})
    assert f"    {name}" in text(mail).split("\r\n")
    assert name in text(mail, "html")
    assert len(list(read(mail).iter_parts())) == 2
    assert max(len(line) for line in build_message(mail, SENDER).message.split(b"\r\n")) <= 76
    assert build_message(mail, SENDER).message.isascii()


def test_a_name_with_markup_in_it_stays_a_name() -> None:
    context = {**CONFIRMATION.context, "lines": [{**CONFIRMATION.context["lines"][0], "name": "<script>x</script>"}]}
    mail = replace(CONFIRMATION, context=context)
    assert "&lt;script&gt;" in text(mail, "html")
    assert "<script>" not in text(mail, "html")
    assert "<script>" in text(mail)


@pytest.mark.parametrize("breach", ["\r\n", "\n", "\r", "\r\n\r\n", "\x0b", "\x85", "\u2028"])
def test_a_line_break_never_makes_a_header(breach: str) -> None:
    message = read(replace(NOTICE, context={**NOTICE.context, "order_no": f"W-1{breach}Bcc: eve@example.com"}))
    assert message["Subject"] == "Your order W-1 Bcc: eve@example.com is on its way"
    assert message["Bcc"] is None


@pytest.mark.parametrize("value", ["x\r\nBcc: eve@example.com", "x\n", "x\r", "x\r\n"])
def test_a_correlation_with_a_line_break_never_makes_a_header(value: str) -> None:
    with pytest.raises(ValueError, match="Header"):
        build_message(replace(NOTICE, correlation=value), SENDER)


LINES = some.text(some.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=200)


@example(text="=?utf-8?q?=0D=0ABcc:_eve@example.com?=")
@example(text="tea " * 20 + "x")
@example(text="x" * 5000)
@given(text=LINES | some.from_regex(r"(=[?]utf-8[?][qb][?][=0-9A-Za-z_]{0,30}[?]= ?){1,3}", fullmatch=True))
def test_words_for_people_arrive_as_they_were_in_lines_that_everybody_takes(text: str) -> None:
    line = text_line("Subject", text)
    assert line.isascii()
    assert max(map(len, line.split(b"\r\n"))) <= 76
    ((name, value),) = message_from_bytes(line + b"\r\n").items()
    assert name == "Subject"
    assert str(make_header(decode_header(value))) == text


@pytest.mark.parametrize("write", [header_line, text_line])
@pytest.mark.parametrize("value", ["x\r\nBcc: y", "x\n", "\r", "x\x0by", "x\x1cy", "x\x85y", "x\u2028y"])
def test_no_header_is_more_than_one_line(write: Callable[[str, str], bytes], value: str) -> None:
    with pytest.raises(ValueError, match="Header X"):
        write("X", value)


@pytest.mark.parametrize(
    "local",
    ["=?utf-8?q?=0D=0ABcc=3A_eve?=", "=?utf-8?b?DQpCY2M6IGV2ZQ==?=", "=?us-ascii?q?=0A=0A?=", "x" * 64, "é" * 32],
)
def test_the_address_stands_in_its_header_as_it_is_and_nothing_in_it_is_decoded(local: str) -> None:
    recipient = f"{local}@{'example.' * 24}com"
    message = build_message(replace(NOTICE, recipient=recipient), SENDER).message
    head = message.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head.count(f"To: {recipient}") == 1
    assert [line.partition(":")[0] for line in head] == [
        *("From", "To", "Subject", "Date", "Message-ID", "Content-Language", "X-Request-ID"),
        *("Auto-Submitted", "MIME-Version", "Content-Type"),
    ]


def test_a_template_that_asks_for_what_is_not_there_fails_instead_of_leaving_a_blank() -> None:
    with pytest.raises(UndefinedError):
        build_message(replace(NOTICE, context={"order_no": "W-1", "username": "ada"}), SENDER)


def test_a_mail_without_a_correlation_has_no_such_header() -> None:
    assert read(replace(NOTICE, correlation=None))["X-Request-ID"] is None


ON_THE_WIRE = {
    "ada@bücher.example": "ada@xn--bcher-kva.example",
    "ada@faß.de": "ada@xn--fa-hia.de",
    "ada@fass.de": "ada@fass.de",
    "ada@xn--fa-hia.de": "ada@xn--fa-hia.de",
    "ada@βόλος.com": "ada@xn--nxasmm1c.com",
    "ada@نامه\u200cای.com": "ada@xn--mgba3gch31f060k.com",
    "ada@ශ්\u200dරී.com": "ada@xn--10cl1a0b660p.com",
}


@pytest.mark.parametrize(("address", "wire"), ON_THE_WIRE.items())
def test_a_domain_beyond_ascii_travels_in_its_ascii_form(address: str, wire: str) -> None:
    """The domain that was registered, and no other that an older IDNA took for the same."""
    assert wire_address(address) == wire
    envelope = build_message(replace(NOTICE, recipient=address), SENDER)
    assert envelope.recipient == wire
    assert f"\r\nTo: {wire}\r\n".encode() in envelope.message


def test_a_local_part_beyond_ascii_stays_as_it_is() -> None:
    envelope = build_message(replace(NOTICE, recipient="jörg@example.com"), SENDER)
    assert envelope.recipient == "jörg@example.com"
    assert "jörg@example.com".encode() in envelope.message


def test_our_message_ids_speak_for_the_domain_of_the_sender() -> None:
    assert domain_of(SENDER) == "weir.example"
