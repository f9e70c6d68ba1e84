"""The language that a client asks for: ``Accept-Language`` against the languages that mails are written in."""

import re
from collections.abc import Iterator
from typing import Annotated, Final

from fastapi import Depends, Header

from infra.locales import LANGUAGES

LONGEST: Final = 500
MOST: Final = 20
"""How much is read of what a client wishes: what comes after that, it wants least."""

_RANGE: Final = re.compile(
    r"[ \t]*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,7})[ \t]*(?:;[ \t]*[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?"
)


def spoken(header: str) -> str | None:
    """The language that is wanted most of those that there are (RFC 4647 section 3.4); None if none is.

    A wish is no condition: what has not the form of one (RFC 9110 section 12.5.4) is passed over.
    """
    wishes = sorted(_wishes(header), key=lambda wish: wish[1], reverse=True)
    unwanted = {tag for tag, weight in wishes if weight == 0}
    known = (_known(tag) for tag, weight in wishes if weight > 0)
    return next((code for code in known if code is not None and code not in unwanted), None)


def _wishes(header: str) -> Iterator[tuple[str, float]]:
    for part in header[:LONGEST].split(",")[:MOST]:
        if found := _RANGE.fullmatch(part):
            yield found[1].lower(), float(found[2] or 1)


def _known(tag: str) -> str | None:
    """``de-CH`` is ``de`` where nothing nearer is there."""
    while tag and tag not in LANGUAGES:
        tag = tag.rpartition("-")[0]
    return tag or None


async def _wanted(
    accept_language: Annotated[str, Header(description="Mails will be in the first of these that we write.")] = "",
) -> str | None:
    return spoken(accept_language)


Spoken = Annotated[str | None, Depends(_wanted)]
"""The language of whoever asks, if it is one that mails are written in."""
