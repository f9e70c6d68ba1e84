"""An import goes on only while its owner may, and what it was begun with: asked at the append of every row."""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import orjson
import pytest

from domain.accounts import (
    ACCOUNTS,
    ActivateAccount,
    ChangePassword,
    ChangeProfile,
    ChangeRoles,
    DeactivateAccount,
    EndedBy,
    EndSession,
    PasswordChangedBy,
    RevokeApiKey,
    Role,
)
from domain.kernel.unit_of_work import StreamRef
from infra import imports
from infra.eventsourcing.commands.bulk_create import CreateRequest
from infra.eventsourcing.commands.handler import CommandHandler
from infra.settings import Settings
from tests.support.importing import Scene, importing, row, written
from tests.support.write_side import WriteSide, context
from workers.imports.file_reader import CHUNK

pytestmark = pytest.mark.anyio

ROWS: Final = 3 * CHUNK
SESSION, ELSEWHERE, KEY = uuid4(), uuid4(), uuid4()
SIGNED_OUT: Final = EndSession(session_id=SESSION, by=EndedBy.OWNER)
OTHER_PASSWORD: Final = ChangePassword(by=PasswordChangedBy.OWNER, kept_session=ELSEWHERE)
MORE_ROLES: Final = ChangeRoles(roles=(Role.STAFF, Role.ADMIN))
PROFILE: Final = ChangeProfile(full_name=None, bio="x")


class Meanwhile:
    """Commands that are carried out just before the rows of a chunk are, from another process."""

    def __init__(self, inner: CommandHandler, other: WriteSide, account_id: UUID, *commands: Any) -> None:
        self._inner = inner
        self._other = other
        self._account_id = account_id
        self._commands = list(commands)

    async def now(self, *asked: Any) -> Any:
        return await self._inner.now(*asked)

    async def create_many(
        self, groups: Iterable[Sequence[CreateRequest]], *, resting_on: Sequence[StreamRef] = ()
    ) -> Sequence[Exception | None]:
        half = [list(group) for group in groups]
        first = await self._inner.create_many(half[: len(half) // 2], resting_on=resting_on)
        while self._commands:
            await self._other.commands.handle((ACCOUNTS, self._account_id), self._commands.pop(0), context())
        return [*first, *await self._inner.create_many(half[len(half) // 2 :], resting_on=resting_on)]


async def begun_with(scene: Scene, import_id: UUID, *, session: UUID | None = None, key: UUID | None = None) -> None:
    await scene.database.execute(
        "UPDATE imports SET session_id = $2, api_key_id = $3 WHERE import_id = $1", import_id, session, key
    )


async def ending(scene: Scene, import_id: UUID) -> tuple[str, list[str], int]:
    """Its state, the codes of its errors, and what it says is done."""
    (told,) = await scene.database.fetch("SELECT state, errors, done FROM imports WHERE import_id = $1", import_id)
    return told["state"], [error["code"] for error in orjson.loads(told["errors"])], told["done"]


async def turned(scene: Scene, other: WriteSide, import_id: UUID, *commands: Any) -> None:
    """A turn in the middle of whose first chunk this happens."""
    inner = scene.importer._commands
    scene.importer._commands = Meanwhile(inner, other, scene.staff.id, *commands)  # type: ignore[assignment]
    assert await scene.importer.turn(import_id)


@pytest.mark.parametrize(
    ("begun", "commands", "code"),
    [
        ({}, [DeactivateAccount()], "insufficient-scope"),
        ({"session": SESSION}, [ChangeRoles(roles=(Role.CUSTOMER,))], "insufficient-scope"),
        ({"session": SESSION}, [SIGNED_OUT], "unauthenticated"),
        ({"session": SESSION}, [OTHER_PASSWORD], "unauthenticated"),
        ({"session": SESSION}, [DeactivateAccount(), ActivateAccount()], "unauthenticated"),
        ({"key": KEY}, [RevokeApiKey(key_id=KEY)], "unauthenticated"),
    ],
    ids=["locked", "fewer roles", "signed out", "another password", "locked and unlocked", "key revoked"],
)
async def test_no_row_is_stored_behind_what_ends_the_import_and_its_end_says_what_was_done(
    settings: Settings, theirs: WriteSide, begun: dict[str, UUID], commands: list[Any], code: str
) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written(row(number) for number in range(ROWS)))
        await begun_with(scene, import_id, **begun)
        await turned(scene, theirs, import_id, *commands)
        done = len(await scene.products())
        assert 0 < done < ROWS
        assert await ending(scene, import_id) == ("failed", [code], done)
        behind = await scene.database.fetchrow(
            "SELECT count(*) AS rows FROM events WHERE type = 'product.added' AND position >"
            " (SELECT max(position) FROM events WHERE stream_id = $1)",
            scene.staff.id,
        )
        assert behind is not None
        assert behind["rows"] == 0


@pytest.mark.parametrize(
    ("begun", "commands"),
    [
        ({"session": SESSION}, [MORE_ROLES]),
        ({"session": SESSION}, [ChangePassword(by=PasswordChangedBy.OWNER, kept_session=SESSION)]),
        ({"session": SESSION}, [EndSession(session_id=ELSEWHERE, by=EndedBy.OWNER), PROFILE]),
        ({"key": KEY}, [OTHER_PASSWORD, RevokeApiKey(key_id=ELSEWHERE), MORE_ROLES]),
        ({}, [SIGNED_OUT, OTHER_PASSWORD]),
    ],
    ids=["more roles", "password changed here", "another session", "another key", "begun by the release before"],
)
async def test_what_leaves_the_session_or_key_of_an_import_alone_costs_it_no_row(
    settings: Settings, theirs: WriteSide, begun: dict[str, UUID], commands: list[Any]
) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written(row(number) for number in range(CHUNK)))
        await begun_with(scene, import_id, **begun)
        await turned(scene, theirs, import_id, *commands)
        while (await ending(scene, import_id))[0] in ("waiting", "running"):  # the owner's token may have ended
            assert await scene.importer.turn(import_id)
        assert await ending(scene, import_id) == ("finished", [], CHUNK)
        assert len(await scene.products()) == CHUNK


async def test_an_import_keeps_the_session_or_the_key_that_it_was_begun_with(settings: Settings) -> None:
    async with importing(settings) as scene:
        await scene.upload(written([row(1)]))
        made = await scene.staff.post("/v1/me/api-keys", {"name": "robot", "scopes": ["catalogue:write"]})
        assert made.status_code == 201, made.text
        key = {"x-api-key": made.json()["key"], "content-type": "text/csv"}
        answer = await scene.shop.http.post("/v1/products/import", content=written([row(2)]), headers=key)
        assert answer.status_code == 202, answer.text
        first, second = await imports.claim(scene.database, 2)
        assert (first.session_id is None, first.api_key_id, first.account_version) == (False, None, 1)
        assert (second.session_id, str(second.api_key_id), second.account_version) == (None, made.json()["id"], 1)
