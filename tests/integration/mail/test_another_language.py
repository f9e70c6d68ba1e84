"""A third language: a folder of templates in a copy of the tree, and not a line of code."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Final

import pytest

from infra.locales import TEMPLATES

ROOT: Final = TEMPLATES.parents[2]
PROGRAMS: Final = ("api", "cli", "domain", "infra", "projections", "workers")
POLISH: Final = {
    "moment.txt": "d MMMM y, HH:mm '(UTC)'",
    "layout.html": '{% extends "frame.html" %}',
    "order_confirmation.txt": (
        "Subject: Zamówienie {{ order_no }}\n\n"
        '{{ lines | sum(attribute="quantity") | counted(one="sztuka", few="sztuki", other="sztuk") }}'
        " za {{ total | money }} do {{ expires_at | moment }}\n"
    ),
    "order_confirmation.html": '{% extends "layout.html" %}{% block body %}{{ total | money }}{% endblock %}',
}

Python = Callable[..., str]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """Runs a program of the copy, and answers what it prints."""
    copy = tmp_path_factory.mktemp("copy")
    for each in PROGRAMS:
        shutil.copytree(ROOT / each, copy / each, ignore=shutil.ignore_patterns("__pycache__"))
    folder = copy / TEMPLATES.relative_to(ROOT) / "pl"
    folder.mkdir()
    for name, source in POLISH.items():
        (folder / name).write_text(source, encoding="utf-8")

    def run(*arguments: str) -> str:
        command = [sys.executable, "-X", "utf8", *arguments]
        return subprocess.run(command, cwd=copy, check=True, capture_output=True, encoding="utf-8", timeout=60).stdout

    return run


def test_a_folder_of_templates_is_a_language_that_mails_are_written_in(python: Python) -> None:
    mail = python("-m", "cli.main", "mail", "preview", "order_confirmation", "--lang", "pl")
    assert "Subject: Zamówienie W-2026-7K3M9QXA\nContent-Language: pl\n" in mail
    assert "\n3 sztuki za 1\u00a0533,67\u00a0€ do 1 marca 2026, 12:30 (UTC)" in mail


def test_what_the_folder_lacks_is_written_in_english(python: Python) -> None:
    mail = python("-m", "cli.main", "mail", "preview", "payment_received", "--lang", "pl")
    assert "Content-Language: en\n" in mail
    assert "€1,533.67" in mail


def test_a_client_can_ask_for_it_and_a_shop_can_speak_it(python: Python) -> None:
    program = (
        "from api.http.accept_language import spoken\n"
        "from infra.settings import Settings\n"
        "print(spoken('pl-PL, de;q=0.5'), Settings(mail_language='pl').mail_language)"
    )
    assert python("-c", program) == "pl pl\n"
