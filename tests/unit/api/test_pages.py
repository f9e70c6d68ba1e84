"""Pages for people: each in every language, whole in itself, with nothing in it that somebody else has written."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any, Final, get_args

import pytest

from api.errors import Problem
from api.http.request_context import RequestState
from api.pages.mail_links import Complaint, Why, told_in_words, why_refused
from api.pages.page_library import TEMPLATES, page
from api.problem_kinds import STATUS
from infra.locales import FALLBACK, LANGUAGES

HOSTILE: Final = "\"'><script>alert(1)</script><img src=x>{{ 7*7 }}"
FORM: Final = {"token": "A" * 64, "idempotency_key": "0" * 32}
SHOWN: Final[list[tuple[str, dict[str, Any]]]] = [
    *(("verify-email", {"form": form}) for form in (FORM, None)),
    *(
        ("reset-password", {"form": form, "complaint": complaint, "shortest": 8})
        for form, complaint in ((FORM, None), *((FORM, each) for each in get_args(Complaint)), (None, None))
    ),
    *(("refused", {"why": why, "request_id": "req-1"}) for why in get_args(Why)),
]
every_page = pytest.mark.parametrize(("name", "words"), SHOWN, ids=[f"{n} {list(w.values())}" for n, w in SHOWN])
in_every_language = pytest.mark.parametrize("language", LANGUAGES)


class Parsed(HTMLParser):
    """What is in a page: its elements, its visible words, and whether all that was opened was closed."""

    ALONE = frozenset({"meta", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.style = self.words = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.ALONE:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.words += data

    def named(self, name: str) -> dict[str, str | None]:
        (found,) = [attributes for _, attributes in self.elements if attributes.get("name") == name]
        return found


def shown(name: str, language: str, **words: Any) -> tuple[dict[bytes, bytes], Parsed]:
    answer = page(name, language, **words)
    return dict(answer.headers), Parsed(answer.body.decode())


@in_every_language
@every_page
def test_a_page_is_there_in_every_language_and_is_well_formed(name: str, words: dict[str, Any], language: str) -> None:
    headers, parsed = shown(name, language, **words)
    assert headers[b"content-language"] == language.encode()
    assert parsed.elements[0] == ("html", {"lang": language})
    assert "{{" not in parsed.words
    assert "{%" not in parsed.words


@in_every_language
@every_page
def test_a_page_loads_nothing_and_its_policy_allows_its_own_style_alone(
    name: str, words: dict[str, Any], language: str
) -> None:
    headers, parsed = shown(name, language, **words)
    tags = {tag for tag, _ in parsed.elements}
    assert tags.isdisjoint({"script", "link", "img", "iframe", "object", "a"})
    assert not {key for _, attributes in parsed.elements for key in attributes} & {"src", "href", "style", "onclick"}
    assert not re.search(r"url\(|@import|://", parsed.style)
    digest = b64encode(sha256(parsed.style.encode()).digest()).decode()
    policy = headers[b"content-security-policy"].decode().split("; ")
    assert policy == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]


@in_every_language
@pytest.mark.parametrize("name", ["verify-email", "reset-password"])
def test_a_form_posts_its_token_and_its_address_has_none(name: str, language: str) -> None:
    _, parsed = shown(name, language, form=FORM, complaint=None, shortest=8)
    (form,) = [attributes for tag, attributes in parsed.elements if tag == "form"]
    assert form == {"method": "post", "action": f"?lang={language}"}
    assert parsed.named("token") == {"type": "hidden", "name": "token", "value": FORM["token"]}
    assert parsed.named("idempotency_key")["value"] == FORM["idempotency_key"]


@in_every_language
def test_what_comes_from_outside_is_text_and_no_markup(language: str) -> None:
    form = dict.fromkeys(FORM, HOSTILE)
    _, parsed = shown("reset-password", language, form=form, complaint=None, shortest=8)
    assert parsed.named("token")["value"] == HOSTILE
    assert "script" not in {tag for tag, _ in parsed.elements}
    _, refused = shown("refused", language, why="ours", request_id=HOSTILE)
    assert HOSTILE in refused.words


def test_every_folder_of_pages_is_whole() -> None:
    files = {code: {file.name for file in (TEMPLATES / code).iterdir()} for code in LANGUAGES}
    assert set(map(frozenset, files.values())) == {frozenset(files[FALLBACK])}


def test_a_language_without_pages_is_shown_english_ones() -> None:
    headers, parsed = shown("verify-email", "xx", form=None)
    assert headers[b"content-language"] == b"en"
    assert parsed.elements[0] == ("html", {"lang": "en"})


@pytest.mark.parametrize("code", sorted(STATUS))
def test_every_refusal_can_be_told_in_words(code: str) -> None:
    problem = Problem(code)
    exchange = RequestState({b"accept-language": b"de-AT"}, lambda: "req-1")
    answer = told_in_words(problem, exchange, {"query_string": b"token=x&lang=%FF"})
    assert (answer.status, dict(answer.headers)[b"content-language"]) == (problem.kind.status, b"de")
    assert set(problem.raw_headers) <= set(answer.headers)
    assert code not in answer.body.decode()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("invalid-link", "link"),
        ("invalid", "link"),
        ("idempotency-key-reused", "link"),
        ("idempotency-key-in-flight", "running"),
        ("outcome-unknown", "running"),
        ("too-many-requests", "pause"),
        ("unavailable", "ours"),
        ("internal", "ours"),
        ("malformed-request", "request"),
        ("unsupported-media-type", "request"),
    ],
)
def test_a_refusal_says_what_can_be_done_about_it(code: str, why: str) -> None:
    assert why_refused(Problem(code)) == why


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [
        (b"lang=de", b"en", b"de"),
        (b"lang=tlh", b"de", b"de"),
        (b"lang=tlh&lang=de", b"", b"de"),
        (b"lang=../../x", b"", b"en"),
        (b"", b"de-CH, en;q=0.5", b"de"),
        (b"", b"tlh", b"en"),
    ],
)
def test_a_page_speaks_the_language_of_the_link_else_that_of_the_browser(
    query: bytes, header: bytes, language: bytes
) -> None:
    exchange = RequestState({b"accept-language": header}, lambda: "req-1")
    answer = told_in_words(Problem("invalid-link"), exchange, {"query_string": query})
    assert dict(answer.headers)[b"content-language"] == language
