"""The page of all problem codes, from their table."""

from collections.abc import Iterator, Mapping
from typing import Final

from api.problem_kinds import Kind
from api.problem_kinds.asking import ASKING
from api.problem_kinds.reading import READING
from api.problem_kinds.rules import RULES
from api.problem_kinds.server import SERVER

HEAD: Final = """\
# Problem codes

<!-- Made by `make reference` from api/problem_kinds/: change the text there. -->

A request that is refused is answered with a problem document (RFC 9457, `application/problem+json`):

```json
{
  "type": "/problems/out-of-stock",
  "title": "Out of stock",
  "status": 409,
  "code": "out-of-stock",
  "detail": "…"
}
```

`code` is what a program goes by: it never changes, while `title` and `detail` are words for people. `type` is the
address at which a running API explains the code. Where single fields are wrong, `errors` names each by its `pointer`.
"""
SECTIONS: Final[Mapping[str, Mapping[str, Kind]]] = {
    "The request cannot be read": READING,
    "Who asks, for what, how often": ASKING,
    "The shop's rules": RULES,
    "The server": SERVER,
}


def page() -> str:
    """All of it."""
    return "\n".join((HEAD, *_sections())) + "\n"


def _sections() -> Iterator[str]:
    for heading, kinds in SECTIONS.items():
        yield f"## {heading}\n"
        yield "| code | status | when it comes | what to do |\n|---|---|---|---|"
        for code, kind in kinds.items():
            yield f"| `{code}` | {kind.status} | {_cell(kind.when)} | {_cell(kind.remedy)} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
