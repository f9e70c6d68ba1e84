"""The fenced blocks of the project's pages, and the script that runs those of one page as a reader pastes them.

What a fence says behind its language is the block's own word on how it is run: ``not-run="why"``; ``refused="409"``,
the answers of the API that are refusals; ``title="a/file.py"``, a file of the change that the page is about.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
OUTSIDE: Final = {"build", "node_modules"}
"""Folders of what is made, beside those whose names begin with a dot."""
RUN: Final = frozenset({"sh", "python"})
LANGUAGES: Final = RUN | {"", "diff", "html", "json", "nginx", "text"}
OPTIONS: Final = frozenset({"not-run", "refused", "title"})
_FENCE: Final = re.compile(r"(\s*)(`{3,}|~{3,})(.*)")
_OPTION: Final = re.compile(r'([a-z-]+)="([^"]*)"')
_ARROW: Final = "# → "


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. ``line`` is that of its fence, ``options`` is what stands there behind the language."""

    page: str
    line: int
    language: str
    options: Mapping[str, str]
    lines: Sequence[str]

    @property
    def place(self) -> str:
        """Where it begins."""
        return f"{self.page}:{self.line}"

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    @property
    def is_run(self) -> bool:
        """Whether it is to be run beside the stack."""
        return self.language in RUN and not self.options.keys() & {"not-run", "title"}

    @property
    def refused(self) -> list[int]:
        """The statuses of the refusals that it says it gets."""
        return [int(status) for status in self.options.get("refused", "").split()]

    @property
    def prints(self) -> list[str]:
        """What it says that it prints."""
        return [line.removeprefix(_ARROW) for line in self.lines if line.startswith(_ARROW)]


def pages() -> list[str]:
    """Every page of the tree, README first: what it makes is there for the others."""
    folders = [each for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith(".")]
    inner = [page for folder in folders if folder.name not in OUTSIDE for page in folder.rglob("*.md")]
    found = [str(page.relative_to(ROOT)) for page in [*sorted(ROOT.glob("*.md")), *sorted(inner)]]
    return [page for page in found if "/." not in page]  # the bench's peers have an environment of their own there


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """The blocks of a page. Raises ValueError for what could be overlooked: nobody would know that it is not run."""
    lines = iter(enumerate((ROOT / page).read_text().splitlines() if text is None else text.splitlines(), start=1))
    return [_block(page, number, fence, lines) for number, line in lines if (fence := _FENCE.fullmatch(line))]


def _block(page: str, number: int, fence: re.Match[str], lines: Iterator[tuple[int, str]]) -> Block:
    indent, ticks, info = fence.groups()
    language, _, options = info.strip().partition(" ")
    told = dict(_OPTION.findall(options))
    if indent or language not in LANGUAGES or _OPTION.sub("", options).strip() or not told.keys() <= OPTIONS:
        raise ValueError(f"{page}:{number}: no fence of ours: {fence[0]}")
    inner: list[str] = []
    for _, line in lines:
        if line == ticks:
            return Block(page=page, line=number, language=language, options=told, lines=inner)
        inner.append(line)
    raise ValueError(f"{page}:{number}: the block has no end")


MARK: Final = "::block "
STATUS: Final = "::status "
PRELUDE: Final = f"""\
curl() {{ command curl --max-time 60 -w '%{{stderr}}\\n{STATUS}%{{http_code}}\\n' "$@"; }}
trap 'echo "::line $LINENO: $BASH_COMMAND" >&2' ERR
"""
"""Tells of each answer's status, since a refusal is no failure to curl, and of the line at which it fails."""


def script_of(blocks: Sequence[Block]) -> str:
    """One script of a page's blocks that are run, each line of it where it stands in the page."""
    lines: list[str] = []
    for block in blocks:
        opens, ends = (" python3 - <<'PYTHON'", "PYTHON") if block.language == "python" else ("", ":")
        lines += [""] * (block.line - 1 - len(lines))
        mark = f"printf '\\n%s\\n' '{MARK}{block.place}'"
        lines += [f"{mark}; {mark} >&2;{opens}", *block.lines, ends]
    return "\n".join(lines) + "\n"


def said_in(output: str) -> Mapping[str, str]:
    """What each block has said, by its place."""
    parts = output.split(f"\n{MARK}")[1:]
    return {place: said for place, _, said in (part.partition("\n") for part in parts)}


def statuses_in(complaints: str) -> list[int]:
    """Of the answers that it got, in their order."""
    return [int(line.removeprefix(STATUS)) for line in complaints.splitlines() if line.startswith(STATUS)]


def says(output: str, expected: Sequence[str]) -> bool:
    """Whether these lines are in the output, in this order; `…` stands for anything."""
    patterns = [".*".join(map(re.escape, line.split("…"))) for line in expected]
    printed = output.replace("\r", "")
    return re.search("".join(rf"^{pattern}$[\s\S]*?" for pattern in patterns), printed, re.MULTILINE) is not None
