"""Style where mail readers look for it: the rules of a stylesheet, written into the elements of a template.

This is done to templates and not to mails: once for all of a kind, and what customers typed never goes through it. An
HTML parser would carry Jinja's tags out of tables, so it is shown comments and words in their stead.
"""

import re
from typing import Final

from css_inline import CSSInliner, InlineError

_TAG: Final = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_MARK: Final = re.compile(r"<!--tag-([0-9]+)-->|tag-([0-9]+)-tag")
_PLACE: Final = re.compile(rf"</?[A-Za-z][A-Za-z0-9]*|{_MARK.pattern}")
_ADDED: Final = frozenset({"<style", "</style", "<tbody", "</tbody"})
"""What the inliner may add to what is there."""


class Unstylable(Exception):
    """A template whose tags would not be where they were: ``{% %}`` in an attribute, or text in a table's gaps."""


def inlined(template: str, stylesheet: str) -> str:
    """The template with its rules in ``style`` attributes, and those for other media in its head, if it has one.

    Raises :class:`Unstylable`.
    """
    tags: list[str] = []

    def set_aside(found: re.Match[str]) -> str:
        tags.append(found[0])
        number = len(tags) - 1
        return f"<!--tag-{number}-->" if found[0].startswith("{%") else f"tag-{number}-tag"

    marked = _TAG.sub(set_aside, template)
    styled = _style(marked, stylesheet)
    if _places(styled) != _places(marked) or len(_MARK.findall(styled)) != len(tags):
        raise Unstylable(template)
    return _MARK.sub(lambda mark: tags[int(mark[1] or mark[2])], styled)


def _places(html: str) -> list[str]:
    """Elements and marks in their order."""
    return [place for found in _PLACE.finditer(html) if (place := found[0].lower()) not in _ADDED]


def _style(html: str, stylesheet: str) -> str:
    inliner = CSSInliner(load_remote_stylesheets=False, keep_at_rules=True, minify_css=True, extra_css=stylesheet)
    try:
        return inliner.inline(html) if "<html" in html else inliner.inline_fragment(html, stylesheet)
    except InlineError as error:
        raise Unstylable(html) from error
