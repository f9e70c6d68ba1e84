"""Page templates: what a browser is shown in each language, whole in itself: no script, and nothing is loaded.

``templates/<language>/<name>.html`` is within ``frame.html``. A page that a language lacks is shown in English.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.http.policies.security_headers import page_policy
from api.http.response import RawResponse
from infra.locales import FALLBACK

TEMPLATES: Final = Path(__file__).with_name("templates")


class Library(NamedTuple):
    """The templates, and the policy that allows their style and nothing else."""

    environment: Environment
    policy: bytes


@cache
def _shipped() -> Library:
    """Everything that comes into a page is escaped, and a name that it is not given is an error and no blank."""
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["style"] = Markup(style)  # noqa: S704 - a file of ours
    return Library(environment, page_policy(style, forms="'self'"))


def page(name: str, language: str, status: int = 200, **words: Any) -> RawResponse:
    """The page in that language, which must be one that there is. Not kept by anybody: the edge says so."""
    library = _shipped()
    template = library.environment.select_template([f"{language}/{name}.html", f"{FALLBACK}/{name}.html"])
    spoken = str(template.name).partition("/")[0]
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-language", spoken.encode("ascii")),
        (b"content-security-policy", library.policy),
    ]
    return RawResponse(status, headers, template.render(language=spoken, **words).encode("utf-8"))
