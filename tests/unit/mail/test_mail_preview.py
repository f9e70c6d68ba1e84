"""``weir mail preview``: what it prints where nobody sits at a terminal, and what it writes to files."""

from email import policy
from email.parser import BytesParser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import build
from infra.locales import LANGUAGES
from workers.mail.kinds import KINDS


def weir(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(build(arguments), list(arguments), env=environment)


def test_alone_it_lists_every_kind_in_every_language_a_line_each() -> None:
    rows = [line.split("\t") for line in weir("mail", "preview").stdout.splitlines()]
    assert [(kind, code) for kind, code, _ in rows] == [(kind, code) for kind in KINDS for code in LANGUAGES]
    assert ["verify_email", "de", "Bitte bestätigen Sie Ihre Adresse"] in rows


def test_a_mail_is_shown_as_text_with_the_headers_that_people_see() -> None:
    shown = weir("mail", "preview", "shipping_notice", "--lang", "de", WEIR_MAIL_FROM="Tea <tea@shop.example>")
    assert shown.exit_code == 0
    head, _, body = shown.stdout.partition("\n\n")
    assert head.splitlines() == [
        "From: Tea <tea@shop.example>",
        "To: ada@example.com",
        "Subject: Ihre Bestellung W-2026-7K3M9QXA ist unterwegs",
        "Content-Language: de",
    ]
    assert body.startswith("Hallo ada,\n")
    assert "\r" not in shown.stdout


def test_without_a_language_it_is_the_shops() -> None:
    assert "Content-Language: de" in weir("mail", "preview", "password_reset", WEIR_MAIL_LANGUAGE="de").stdout
    assert "Content-Language: en" in weir("mail", "preview", "password_reset").stdout


def test_its_links_lead_to_the_shop() -> None:
    shown = weir("mail", "preview", "verify_email", WEIR_PUBLIC_URL="https://tea.example/")
    assert "https://tea.example/verify-email?token=" in shown.stdout


def test_its_links_lead_to_a_front_end_of_ones_own_and_tell_it_the_language() -> None:
    told = {"WEIR_PUBLIC_URL": "https://api.tea.example", "WEIR_FRONT_END_URL": "https://tea.example/account/"}
    shown = weir("mail", "preview", "password_reset", "--lang", "de", **told).stdout
    assert f"https://tea.example/account/reset-password?token={'0' * 64}&lang=de\n" in shown


def test_html_goes_to_the_screen_or_to_a_file(tmp_path: Path) -> None:
    shown = weir("mail", "preview", "shipping_notice", "--html").stdout
    assert shown.startswith("<!DOCTYPE html>")
    file = tmp_path / "new" / "mail.html"
    assert weir("mail", "preview", "shipping_notice", "--out", str(file)).stdout == f"{file}\n"
    assert file.read_text() == shown


def test_every_mail_is_written_to_a_folder(tmp_path: Path) -> None:
    weir("mail", "preview", "--all", "--out", str(tmp_path))
    names = {f"{kind}.{code}{suffix}" for kind in KINDS for code in LANGUAGES for suffix in (".eml", ".html", ".txt")}
    assert {path.name for path in tmp_path.iterdir()} == names
    for kind in KINDS:
        message = BytesParser(policy=policy.default).parsebytes((tmp_path / f"{kind}.de.eml").read_bytes())
        assert (message["Content-Language"], message.get_content_type()) == ("de", "multipart/alternative")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["birthday_greeting"], "no mail is called birthday_greeting"),
        (["verify_email", "--lang", "tlh"], "no mail is written in tlh"),
        (["verify_email", "--lang", "../en"], "no mail is written in ../en"),
        (["--all"], "--all needs --out"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(arguments: list[str], told: str) -> None:
    refused = weir("mail", "preview", *arguments)
    assert refused.exit_code == 2
    assert told in " ".join(refused.output.replace("│", " ").split())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = weir("mail", "preview", "verify_email", "--out", str(tmp_path / "file" / "mail.html"))
    assert refused.exit_code == 1
    assert "cannot be written" in refused.output
