"""Patience of a test's own processes with the servers beside them."""

import pytest

from infra.postgres import connect


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood still for a second has not lost its server. What a test starts knows nothing of it.

    Tests of servers that do not answer have a fixture of this name that does nothing.
    """
    monkeypatch.setattr(connect, "CONNECT_SECONDS", 3.0)
