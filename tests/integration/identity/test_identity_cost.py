"""What proving who one is costs: the dear things happen once, and the rest is remembered."""

from collections import Counter
from typing import Any

import argon2
import jwt
import pytest

from infra.settings import Settings
from tests.support.house import PASSWORD, open_house

pytestmark = pytest.mark.anyio


async def test_a_login_and_three_reads_cost_one_hash_and_one_signature_check(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            spent[name] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    async with open_house(settings) as house:
        await house.registered("Ada")
        for name in ("hash", "verify"):
            counted(argon2.PasswordHasher, name)
        counted(jwt, "decode")
        ada = await house.signed_in("Ada", PASSWORD)
        for _ in range(3):
            assert (await ada.send("GET", "/v1/orders")).status_code in (200, 503)
    assert spent == {"verify": 1, "decode": 1}
