"""What MkDocs does beside its ordinary work: lists the decision records, and holds pages to a strict policy."""

import logging
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

_LOG = logging.getLogger("mkdocs.hooks")
_FOR_TESTS = re.compile(r'^(```\w+) (?:not-run|refused)="[^"]*"$', re.MULTILINE)
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_FORBIDDEN = re.compile(
    r"""<style|<[^>]*\s(?:style|on\w+)=|<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?(?:https?:)?//"""
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Every decision record is in the navigation, and nobody has to name it there."""
    records = sorted(Path(config.docs_dir, "decisions").glob("[0-9]*.md"))
    (explanation,) = [section["Explanation"] for section in config.nav or () if "Explanation" in section]
    index = explanation.pop()
    explanation.append({"Decisions": [index, *(f"decisions/{record.name}" for record in records)]})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What a block says of how it is run is for the tests; to the theme it would be no block."""
    return _FOR_TESTS.sub(r"\1", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The theme's scripts become files. What the policy of `api/guide.py` forbids beside them is an error."""
    written = _INLINE.sub(lambda script: _as_file(script[1], page.url, config), output)
    if forbidden := _FORBIDDEN.search(written):
        _LOG.warning("%s has %s, which its policy forbids", page.file.src_path, forbidden[0])
    return written


def _as_file(script: str, page_url: str, config: MkDocsConfig) -> str:
    name = f"assets/scripts/{sha256(script.encode()).hexdigest()[:16]}.js"
    file = Path(config.site_dir, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(script)
    return f'<script src="{get_relative_url(name, page_url)}"></script>'
