"""Every way to start something tells of wrong settings in the same words, and ends with 2 before it does anything."""

import sys
from collections.abc import Sequence
from typing import Final

import pytest

from cli.main import COMMANDS, main

READ: Final[Sequence[Sequence[str]]] = (
    ("up",),
    ("demo",),
    ("serve",),
    ("worker", "relay"),
    ("worker", "projections"),
    ("worker", "tasks"),
    ("worker", "all"),
    ("migrate",),
    ("migrate", "--check"),
    ("migrate", "--wait", "1"),
    ("shards",),
    ("keys", "list"),
    ("keys", "rotate"),
    ("replay", "order_summary", "--yes"),
    ("backup", "kept"),
    ("restore", "kept"),
    ("verify",),
    ("parked", "list"),
    ("mail", "list"),
    ("mail", "preview"),
    ("refunds", "list"),
    ("webhooks", "list"),
    ("provider",),
    ("pay", "0192f0c1-0000-7000-8000-000000000000"),
    ("seed",),
    ("env",),
    ("psql",),
    ("status",),
    ("doctor",),
    ("settings",),
)
READ_NONE: Final = {"mailsink", "import", "bench", "openapi", "asyncapi", "reference", "release"}


def test_no_command_is_forgotten_here() -> None:
    assert {first for first, *_ in READ} | READ_NONE == set(COMMANDS)


@pytest.mark.parametrize("arguments", READ, ids=" ".join)
def test_every_command_tells_of_wrong_settings_and_ends_with_2(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["weir", *arguments])
    monkeypatch.setenv("WEIR_POOL_SIZE", "many")
    monkeypatch.setenv("WEIR_PROT", "80")
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.splitlines() == [
        "the settings are wrong; nothing was started, and nothing was changed",
        "WEIR_POOL_SIZE is 'many': must be a whole number from 1 to 200",
        "WEIR_PROT (not shown): there is no such setting; is it WEIR_PORT?",
    ]
