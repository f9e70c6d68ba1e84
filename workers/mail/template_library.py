"""Mail templates: the subject, the text and the HTML of each kind, in each language.

``templates/<language>/<kind>.txt`` begins with its subject. ``<kind>.html`` says the same with markup, within its
language's ``layout.html``, which is within the ``frame.html`` of all; ``moment.txt`` is how it tells a moment.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, Final

from jinja2 import (
    BaseLoader,
    Environment,
    FileSystemLoader,
    FunctionLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    select_autoescape,
)

from infra.locales import FALLBACK, LANGUAGES, TEMPLATES
from infra.locales.language import Language
from workers.mail.inline_css import inlined

_FOR_ALL: Final = "frame.html"
_REMEMBERED: Final = 512
_SUBJECT: Final = "Subject: "
_RIGHT_TO_LEFT: Final = re.compile(
    "[\u0590-\u08ff\u200e\u200f\u202a-\u202e\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff]"
)
_APART: Final = "\N{FIRST STRONG ISOLATE}{}\N{POP DIRECTIONAL ISOLATE}"


@dataclass(frozen=True, kw_only=True)
class Wording:
    """One kind of mail in one language, as templates."""

    language: str
    subject: Template
    text: Template
    html: Template


class TemplateLibrary:
    """The templates that a loader gives, in these languages."""

    def __init__(self, loader: BaseLoader, languages: Iterable[str] = LANGUAGES) -> None:
        self._loader = loader
        self._raw = Environment(autoescape=True)
        self._environments = {code: self._environment(code) for code in languages}

    def wording(self, kind: str, language: str) -> Wording:
        """The kind in that language, or all of it in English where any of it is missing there.

        Raises ``jinja2.TemplateNotFound`` for a kind that this release does not know.
        """
        for code in (language, FALLBACK):
            with suppress(TemplateNotFound):
                return self._read(kind, code)
        raise TemplateNotFound(kind)

    def _read(self, kind: str, language: str) -> Wording:
        environment = self._environments[language]
        head, _, text = self._source(language, f"{kind}.txt").partition("\n\n")
        if not head.startswith(_SUBJECT):
            raise ValueError(f"{language}/{kind}.txt does not begin with its subject")
        environment.get_template("layout.html")
        return Wording(
            language=language,
            subject=environment.from_string(head.removeprefix(_SUBJECT)),
            text=environment.from_string(text),
            html=environment.get_template(f"{kind}.html"),
        )

    def _environment(self, code: str) -> Environment:
        """HTML is escaped, text is not, and a name that the context does not have is an error and no blank."""
        language = Language(code, moments=self._read_file(f"{code}/moment.txt").strip())
        environment = Environment(
            loader=FunctionLoader(partial(self._source, code)),
            autoescape=select_autoescape(("html",), default=False, default_for_string=False),
            undefined=StrictUndefined,
            finalize=_kept_apart,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        for write in (language.money, language.moment, language.counted, language.span):
            # What an HTML part tells its text part has told before.
            environment.filters[write.__name__] = lru_cache(_REMEMBERED)(write)
        environment.globals["language"] = code
        return environment

    def _source(self, language: str, name: str) -> str:
        """A template as Jinja is to read it: the language's own, or what is for all; HTML with its style in it."""
        source = self._read_file(name if name == _FOR_ALL else f"{language}/{name}")
        return inlined(source, self._read_file("style.css")) if name.endswith(".html") else source

    def _read_file(self, path: str) -> str:
        return self._loader.get_source(self._raw, path)[0]


@cache
def _shipped() -> TemplateLibrary:
    return TemplateLibrary(FileSystemLoader(TEMPLATES))


@cache
def wording(kind: str, language: str) -> Wording:
    """The kind as the shop ships it; raises as :meth:`TemplateLibrary.wording`."""
    return _shipped().wording(kind, language)


def _kept_apart(value: Any) -> Any:
    """A word that runs from right to left is set apart, or it would turn the words around it (Unicode's annex 9)."""
    if isinstance(value, str) and not value.isascii() and _RIGHT_TO_LEFT.search(value):
        return type(value)(_APART).format(value)
    return value
