"""The wording of mails: every kind in every language, styled where mail readers look, whatever people are called."""

import re
from collections.abc import Mapping
from dataclasses import replace
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from html.parser import HTMLParser
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from jinja2 import DictLoader, TemplateNotFound

from infra.identity.one_time_links import lives_of
from infra.locales import FALLBACK, LANGUAGES, TEMPLATES
from infra.locales.language import Language
from infra.mail.outbox import Claimed
from infra.settings import Settings
from workers.mail.inline_css import Unstylable, inlined
from workers.mail.kinds import KINDS
from workers.mail.message import build_message
from workers.mail.samples import samples
from workers.mail.template_library import TemplateLibrary, wording

SENDER = "Tea & Co <shop@weir.example>"
SAMPLES: Mapping[str, Claimed] = MappingProxyType(samples("https://shop.example", lives_of(Settings())))
EVERY = [(kind, code) for kind in KINDS for code in LANGUAGES]
every_mail = pytest.mark.parametrize(("kind", "code"), EVERY)


def sent(mail: Claimed) -> EmailMessage:
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(build_message(mail, SENDER).message)


def part(message: EmailMessage, form: str) -> str:
    body = message.get_body((form,))
    assert body is not None
    content: str = body.get_content()
    return content


def sample(kind: str, code: str, **context: Any) -> Claimed:
    mail = SAMPLES[kind]
    return replace(mail, language=code, context={**mail.context, **context})


def flat(text: str) -> str:
    return " ".join(text.split())


class Page(HTMLParser):
    """What is in an HTML page: its words, each element's attributes, and whether all that was opened was closed."""

    ALONE = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
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
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return flat(" ".join(self.words))


def test_every_language_has_every_kind_and_no_template_is_left_over() -> None:
    assert {path.name for path in TEMPLATES.iterdir()} == {*LANGUAGES, "frame.html", "style.css"}
    names = {f"{kind}.{form}" for kind in KINDS for form in ("txt", "html")} | {"layout.html", "moment.txt"}
    for code in LANGUAGES:
        assert {path.name for path in (TEMPLATES / code).iterdir()} == names, code


def test_there_is_a_sample_of_every_kind() -> None:
    assert SAMPLES.keys() == set(KINDS)


@every_mail
def test_every_kind_says_itself_in_every_language(kind: str, code: str) -> None:
    message = sent(sample(kind, code))
    page = Page(part(message, "html"))
    assert message["Content-Language"] == wording(kind, code).language == code
    assert page.elements[0] == ("html", {"lang": code})
    assert message["Subject"] in page.text
    if code != FALLBACK:
        english = sent(sample(kind, FALLBACK))
        assert message["Subject"] != english["Subject"]
        for form in ("plain", "html"):
            assert not {"Hello", "your", "we"} & set(re.findall("[A-Za-z]+", part(message, form)))


@every_mail
def test_the_text_says_what_the_html_says(kind: str, code: str) -> None:
    message = sent(sample(kind, code))
    html, text = Page(part(message, "html")).text, flat(part(message, "plain"))
    for said in _leaves(SAMPLES[kind].context):
        told = {flat(said), flat(Language(code, moments="").money(said))}
        assert any(each in text for each in told) == any(each in html for each in told), said
    numbers = re.findall(r"[0-9][0-9.,]*[0-9]", text)
    assert [number for number in numbers if number not in html] == []


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value] if isinstance(value, str) else []


def test_a_kind_that_a_language_lacks_is_in_english_from_head_to_foot() -> None:
    message = sent(replace(SAMPLES["order_confirmation"], language="tlh"))
    assert message["Content-Language"] == FALLBACK
    page = Page(part(message, "html"))
    assert page.elements[0] == ("html", {"lang": FALLBACK})
    assert "1 March 2026" in page.text
    assert "€1,533.67" in page.text


@pytest.mark.parametrize("missing", ["de/tea.txt", "de/tea.html", "de/layout.html"])
def test_a_kind_of_which_half_is_translated_counts_as_not_translated(missing: str) -> None:
    whole = {
        "style.css": "",
        "en/layout.html": "",
        "de/layout.html": "",
        "en/moment.txt": "y",
        "de/moment.txt": "y",
        "en/tea.txt": "Subject: Tea\n\nTea, {{ 2 | counted(one='cup', other='cups') }}",
        "en/tea.html": "<p>Tea</p>",
        "de/tea.txt": "Subject: Tee\n\nTee, {{ 2 | counted(one='Tasse', other='Tassen') }}",
        "de/tea.html": "<p>Tee</p>",
    }
    library = TemplateLibrary(DictLoader(whole))
    assert library.wording("tea", "de").text.render() == "Tee, 2 Tassen"
    half = TemplateLibrary(DictLoader({name: source for name, source in whole.items() if name != missing}))
    told = half.wording("tea", "de")
    assert (told.language, told.subject.render(), told.text.render()) == ("en", "Tea", "Tea, 2 cups")
    with pytest.raises(TemplateNotFound):
        library.wording("coffee", "de")


def test_a_text_that_does_not_begin_with_its_subject_is_refused() -> None:
    tea = {"style.css": "", "en/moment.txt": "y", "en/tea.txt": "Tea\n\nTea", "en/tea.html": "<p>Tea</p>"}
    library = TemplateLibrary(DictLoader(tea), ["en"])
    with pytest.raises(ValueError, match="subject"):
        library.wording("tea", "en")


# Style


@every_mail
def test_the_style_is_in_the_elements_and_nothing_is_fetched(kind: str, code: str) -> None:
    html = part(sent(sample(kind, code)), "html")
    page = Page(html)
    classed = [attributes for _, attributes in page.elements if attributes.get("class")]
    assert all(attributes.get("style") for attributes in classed), "a class without a rule"
    assert {"card", "title", "body", "foot", "preheader"} <= {
        name for attributes in classed for name in (attributes["class"] or "").split()
    }
    assert not {"link", "img", "script", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert not re.search(r"url\(|@import|@font-face|src=", html)
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == ([SAMPLES[kind].context["link"]] * 2 if "link" in SAMPLES[kind].context else [])


def test_a_reader_with_a_dark_screen_finds_rules_for_it_and_no_others() -> None:
    (rules,) = re.findall("<style>(.*?)</style>", part(sent(SAMPLES["order_confirmation"]), "html"), re.DOTALL)
    assert rules.strip().startswith("@media (prefers-color-scheme: dark)")
    assert "padding" not in rules
    dark = set(re.findall(r"\.([a-z]+)", rules))
    light = set(re.findall(r"\.([a-z]+)", (TEMPLATES / "style.css").read_text().partition("@media")[0]))
    assert dark <= light


def test_a_table_of_products_has_a_row_for_each_and_is_no_decoration() -> None:
    page = Page(part(sent(sample("order_confirmation", "en")), "html"))
    tables = [attributes.get("role") for tag, attributes in page.elements if tag == "table"]
    assert tables == ["presentation", "presentation", None]
    assert sum(tag == "tr" for tag, _ in page.elements) == 4 + 1 + 2 + 3
    assert sum(tag == "th" for tag, _ in page.elements) == 2


CSS = ".a { color: red } td { padding: 0 } @media print { .a { color: black } }"


def test_rules_are_written_into_a_template_and_its_tags_stay_where_they_were() -> None:
    template = '<table>{% for x in xs %}<tr><td class="a">{{ x }}</td></tr>{% endfor %}</table><a href="{{ y }}">z</a>'
    assert inlined(template, CSS) == (
        '<table>{% for x in xs %}<tbody><tr><td class="a" style="padding:0;color:red">{{ x }}</td></tr>{% endfor %}'
        '</tbody></table><a href="{{ y }}">z</a>'
    )


@pytest.mark.parametrize(
    "template",
    [
        "<table><tr>{{ x }}<td>y</td></tr></table>",
        "<p {% if x %}class='a'{% endif %}>y</p>",
        "<p>{{ x }} tag-0-tag</p>",
        "<p>{% if x %}</p>{% endif %}<!--tag-1-->",
        "<p><div>{{ x }}</div></p>",
        "<td>{{ x }}</td>",
    ],
)
def test_a_template_whose_tags_would_move_is_refused(template: str) -> None:
    with pytest.raises(Unstylable):
        inlined(template, CSS)


# Whatever people are called

HOSTILE = [
    "x\r\nBcc: eve@example.com",
    "x\n\nSubject: y",
    "\r\n.\r\nMAIL FROM:<eve@example.com>",
    "=?utf-8?q?=0D=0ABcc:_eve@example.com?=",
    "--=_weir--",
    "</td></tr></table><script>alert(1)</script>",
    "\"' onmouseover='x",
    "{{ 7 * 7 }}{% raw %}",
    "<!--tag-0--> tag-1-tag",
    "&lt;b&gt;",
    "é" * 500,
    "W" * 5000,
    "👩‍👩‍👧‍👦🏴‍☠️",
    "עדה לאבלייס",
    "\u202eexe.live",
    "\u0000\u0007",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@every_mail
def test_no_word_of_a_row_bends_its_mail(kind: str, code: str, hostile: str) -> None:
    mail = SAMPLES[kind]
    bent = replace(mail, language=code, context=_with(mail.context, hostile))
    message = sent(bent)
    assert max(map(len, build_message(bent, SENDER).message.split(b"\r\n"))) <= 998
    plain = sent(sample(kind, code))
    assert message.keys() == plain.keys()
    assert len(list(message.iter_parts())) == 2
    assert message.defects == []
    page, as_ever = Page(part(message, "html")), Page(part(plain, "html"))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in as_ever.elements}
    assert [attributes.keys() for _, attributes in page.elements if "onmouseover" in attributes] == []
    assert "49" not in part(message, "plain") or "49" in part(plain, "plain")


def _with(value: Any, said: str, name: str = "") -> Any:
    """The context with that in the place of every word in it that is neither an amount, a moment nor a choice."""
    if isinstance(value, dict):
        return {key: _with(each, said, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_with(each, said, name) for each in value]
    return said if isinstance(value, str) and name != "expires_at" else value


ANY_TEXT = some.text(some.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=some.data(), kind=some.sampled_from(KINDS), code=some.sampled_from([*LANGUAGES, "tlh", None]))
def test_any_row_of_a_kind_can_be_composed_and_has_the_headers_of_every_other(
    data: some.DataObject, kind: str, code: str | None
) -> None:
    def fill(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: fill(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [fill(each) for each in value for _ in range(data.draw(some.integers(0, 3)))]
        if isinstance(value, bool) or name in ("expires_at", "lives"):
            return value
        return data.draw(some.integers(0, 10**9) if isinstance(value, int) else ANY_TEXT)

    mail = replace(SAMPLES[kind], language=code)
    message = sent(replace(mail, context=fill(mail.context)))
    assert message.keys() == sent(mail).keys()
    assert [each.get_content_type() for each in message.iter_parts()] == ["text/plain", "text/html"]


@every_mail
def test_what_runs_from_right_to_left_turns_nothing_around_it(kind: str, code: str) -> None:
    message = sent(sample(kind, code, username="עדה"))
    for form in ("plain", "html"):
        assert "\u2068עדה\u2069" in part(message, form)
        assert "\u2068" not in part(sent(sample(kind, code, username="Zoë 👩")), form)


@every_mail
def test_a_name_with_markup_in_it_stays_a_name(kind: str, code: str) -> None:
    message = sent(sample(kind, code, username="<b>&"))
    assert "&lt;b&gt;&amp;" in part(message, "html")
    assert "<b>&" in part(message, "plain")
    assert "Tea & Co" in Page(part(message, "html")).text


def test_one_piece_is_a_piece_and_two_are_pieces() -> None:
    (line, _) = SAMPLES["order_confirmation"].context["lines"]
    for quantity, told in ((1, "1 piece for"), (2, "2 pieces for"), (1000, "1,000 pieces for")):
        mail = sample("order_confirmation", "en", lines=[{**line, "quantity": quantity}])
        assert told in Page(part(sent(mail), "html")).text


def test_a_row_that_an_older_release_wrote_can_still_be_sent() -> None:
    """Such a row has no language, and what its context holds is what it held then."""
    line = {"sku": "T", "name": "Tea", "quantity": 1, "unit_price": "1.00 EUR", "line_total": "1.00 EUR"}
    sums = {"subtotal": "1.00 EUR", "tax": "0.00 EUR", "total": "1.00 EUR"}
    told: dict[str, dict[str, Any]] = {
        "order_confirmation": {
            "order_no": "W-1",
            "lines": [line],
            **sums,
            "expires_at": "2026-03-01T12:30:00+00:00",
            "shipping_address": [],
        },
        "payment_received": {"order_no": "W-1", "amount": "1.00 EUR"},
        "payment_reminder": {"order_no": "W-1", "total": "1.00 EUR", "expires_at": "2026-03-01T12:30:00+00:00"},
        "order_cancelled": {"order_no": "W-1", "by": "customer", "reason": None},
        "shipping_notice": {"order_no": "W-1", "carrier": "DHL", "tracking_no": "1"},
        "verify_email": {"link": "https://x", "lives": 60},
        "password_reset": {"link": "https://x", "lives": 60},
        "password_changed": {"by": "owner"},
    }
    for kind, context in told.items():
        row = replace(SAMPLES[kind], language=None, context={"username": "ada", **context})
        assert sent(row)["Content-Language"] == FALLBACK
