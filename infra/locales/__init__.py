"""The languages that mails are written in.

A language is a folder of templates whose name is its code (RFC 5646, in lower case).
"""

from pathlib import Path
from typing import Final

TEMPLATES: Final = Path(__file__).parents[2] / "workers" / "mail" / "templates"
FALLBACK: Final = "en"
"""What is not there in another language is there in this one."""


def languages_in(folder: Path) -> tuple[str, ...]:
    """The codes of the languages that a folder has templates for, the fallback first."""
    codes = (path.parent.name for path in folder.glob("*/moment.txt"))
    return tuple(sorted(codes, key=lambda code: (code != FALLBACK, code)))


LANGUAGES: Final = languages_in(TEMPLATES)


def shipped(code: str) -> str:
    """The code of a language that there is. Raises ``ValueError`` for any other."""
    if code not in LANGUAGES:
        raise ValueError(f"there is no such language; there are {', '.join(LANGUAGES)}")
    return code


def first_of(*wished: str | None) -> str:
    """The first of these languages that there is; an older release may have known others."""
    return next((code for code in wished if code is not None and code in LANGUAGES), FALLBACK)
