"""Files of products: every good row once, every bad one told, whatever happens in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from api.errors import Problem
from api.import_uploads import ImportUploads
from domain.accounts import ACCOUNTS, ChangeRoles, DeactivateAccount, Role
from domain.kernel.unit_of_work import StreamRef
from infra import imports
from infra.configs import pool_of
from infra.errors import OutcomeUnknown, Unavailable
from infra.eventsourcing.commands.attempt import CommandContext
from infra.eventsourcing.commands.bulk_create import CreateRequest
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity.account_turns import take_turn
from infra.imports.upload_table import MOST_UNFINISHED
from infra.postgres.pool import Database
from infra.settings import Settings
from tests.support.importing import CSV, HEADER, NDJSON, faults, importing, row, written
from tests.support.s3_stand_in import S3StandIn, s3_settings
from tests.support.serving import serving
from tests.support.write_side import connected, context, write_side
from workers.imports.executor import product_of
from workers.imports.file_reader import CHUNK

pytestmark = pytest.mark.anyio

SECRET = "verysecretvalue"


async def test_every_row_becomes_a_product_with_its_stock(settings: Settings) -> None:
    async with importing(settings) as scene:
        answer = await scene.send(written(row(number) for number in range(3)))
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/v1/imports/{answer.json()['id']}"
        waiting = await scene.seen(UUID(answer.json()["id"]))
        assert (waiting["state"], waiting["total"], waiting["started_at"]) == ("waiting", None, None)
        seen = await scene.done(UUID(answer.json()["id"]))
        assert (seen["state"], seen["total"], seen["done"], seen["failed"], seen["errors"]) == ("finished", 3, 3, 0, [])
        assert seen["started_at"] <= seen["finished_at"]
        assert await scene.products() == {"SKU-0": 5, "SKU-1": 5, "SKU-2": 5}


async def test_all_columns_say_what_the_body_of_a_new_product_would(settings: Settings) -> None:
    everything = {
        "tags": "copper|for tea",
        "stock": "",
        "tax_rate": "0.19",
        "sku": "K-1",
        "currency": "JPY",
        "description": 'Line one,\r\nline "two"',
        "name": "Kettle, big",
        "category": "kitchen",
        "price": "1900",
    }
    body = {"price": {"amount": "1900", "currency": "JPY"}, "tags": ["copper", "for tea"], "sku": "K-2"}
    same = {**everything, **body}
    del same["currency"], same["stock"]
    async with importing(settings) as scene:
        assert (await scene.imported(written([everything])))["done"] == 1
        assert (await scene.imported(json.dumps(same).encode(), NDJSON))["done"] == 1
        rows = await scene.database.fetch(
            "SELECT data - 'product_id' - 'sku' - 'sku_key' AS data, metadata FROM events WHERE category = 'product'"
            " ORDER BY position"
        )
    first, second = (json.loads(row["data"]) for row in rows)
    assert first == second
    assert first["description"] == everything["description"]
    assert json.loads(rows[0]["metadata"])["actor"] == str(scene.staff.id)


BAD_CSV: Sequence[tuple[str, bytes]] = [
    ("invalid-utf-8", b"B,\xff,1.00,EUR,1"),
    ("wrong-columns", b"B,b,1.00,EUR"),
    ("wrong-columns", b"B,b,1,00,EUR,1"),
    ("string-pattern-mismatch", b"B,b,verysecretvalue,EUR,1"),
    ("string-pattern-mismatch", b"B,b,1e3,EUR,1"),
    ("unknown-currency", b"B,b,1.00,XXZ,1"),
    ("invalid-amount", b"B,b,1.001,EUR,1"),
    ("invalid-amount", b"B,b,01.00,EUR,1"),
    ("int-type", b"B,b,1.00,EUR,01"),
    ("int-type", b"B,b,1.00,EUR,verysecretvalue"),
    ("int-type", b"B,b,1.00,EUR, 1"),
    ("int-type", "B,b,1.00,EUR,٣".encode()),
    ("greater-than-equal", b"B,b,1.00,EUR,-1"),
    ("less-than-equal", b"B,b,1.00,EUR,999999999999999999"),
    ("int-type", b"B,b,1.00,EUR,9999999999999999999999"),
    ("string-too-short", b",b,1.00,EUR,1"),
    ("invalid-value", b"B,b\x00verysecretvalue,1.00,EUR,1"),
    ("invalid-value", b'B,"b\nc",1.00,EUR,1'),
    ("broken-quotes", b'B,"b,1.00,EUR,1'),
    ("broken-quotes", b'B,verysecretvalue"b",1.00,EUR,1'),
    ("too-long", b"B," + b"b" * 200_000 + b",1.00,EUR,1"),
    ("string-too-long", b"B," + b"b" * 201 + b",1.00,EUR,1"),
    ("already-taken", b"a,b,1.00,EUR,1"),
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
async def test_a_bad_row_is_told_with_its_line_and_the_others_go_on(settings: Settings, end: bytes) -> None:
    lines = [HEADER.encode(), b"A,a,1.00,EUR,1", b""]
    expected = []
    for number, (code, line) in enumerate(BAD_CSV):
        expected.append((1 + sum(1 + each.count(b"\n") for each in lines), code))
        lines += [line, b"good-%d,b,1.00,EUR,1" % number]
    async with importing(settings) as scene:
        seen = await scene.imported(b"\xef\xbb\xbf" + end.join(lines))
        assert faults(seen) == expected
        assert (seen["done"], seen["failed"]) == (len(BAD_CSV) + 1, len(BAD_CSV))
        assert seen["total"] == seen["done"] + seen["failed"]
        assert SECRET not in json.dumps(seen)
        assert len(await scene.products()) == len(BAD_CSV) + 1


@pytest.mark.parametrize("blank", [b",,,,", b" , ,\t,,", b'"","",,"",""', b",", b',"  ",,,', b'"\n",,,,'])
async def test_a_row_in_which_nothing_stands_is_skipped_and_counted_apart(settings: Settings, blank: bytes) -> None:
    good = [b"A,a,1.00,EUR,1", b'B,"""",1.00,EUR,1', b'C,",",1.00,EUR,1']
    lines = [HEADER.encode(), blank, good[0], b"", blank, blank, *good[1:], blank]
    async with importing(settings) as scene:
        seen = await scene.imported(b"\r\n".join(lines))
        assert (seen["state"], seen["errors"]) == ("finished", [])
        assert (seen["done"], seen["failed"], seen["skipped"], seen["total"]) == (3, 0, 4, 7)
        assert len(await scene.products()) == 3


async def test_a_checkpoint_keeps_what_was_skipped(settings: Settings) -> None:
    rows = [b",,,,"] * (CHUNK + 3)
    async with importing(settings) as scene:
        seen = await scene.imported(b"\n".join([HEADER.encode(), *rows, b"A,a,1.00,EUR,1", *rows]))
        assert (seen["done"], seen["failed"], seen["skipped"]) == (1, 0, 2 * len(rows))


@pytest.mark.parametrize("blank", [b"\n", b"\r\n", b",,,,\n"], ids=["LF", "CRLF", "commas"])
async def test_thousands_of_blank_lines_are_passed_over(settings: Settings, blank: bytes) -> None:
    lines = 4_000 if b"," in blank else 1_000_000
    body = HEADER.encode() + b"\n" + blank * lines + b"A,a,1.00,EUR,1\nB,b,1.00,EUR,x\n" + blank * lines
    async with importing(settings) as scene:
        seen = await scene.imported(body)
        skipped = 2 * lines if b"," in blank else 0
        assert (seen["state"], seen["done"], seen["failed"], seen["skipped"]) == ("finished", 1, 1, skipped)
        assert faults(seen) == [(lines + 3, "int-type")]


BAD_NDJSON: Sequence[tuple[str, bytes]] = [
    ("malformed-json", b"{"),
    ("malformed-json", b'{"sku": "verysecretvalue", "sku": "b"}'),
    ("malformed-json", b'{"sku": "a\\u0000b"}'),
    ("malformed-json", b'{"sku": "\\ud800"}'),
    ("invalid-utf-8", b'{"sku": "\xff"}'),
    ("model-type", b"[]"),
    ("missing", b'{"sku": "B"}'),
    ("extra-forbidden", b'{"sku": "B", "name": "b", "price": {"amount": "1", "currency": "EUR"}, "colour": "red"}'),
    ("string-type", b'{"sku": 7, "name": "b", "price": {"amount": "1", "currency": "EUR"}}'),
    ("int-type", b'{"sku": "B", "name": "b", "price": {"amount": "1", "currency": "EUR"}, "stock": "5"}'),
    ("malformed-json", b'{"sku": "B", ' + b",".join(b'"%d":1' % number for number in range(11_500)) + b"}"),
    *(("malformed-json", b'{"sku": ' + b'{"a": ' * deep + b"1" + b"}" * deep + b"}") for deep in (300, 1_024)),
    *(("malformed-json", b'{"tags": ' + b"[" * deep + b"]" * deep + b"}") for deep in (300, 1_024, 60_000)),
]


async def test_lines_of_json_keep_the_rules_of_bodies(settings: Settings) -> None:
    good = b'{"sku": "good-%d", "name": "b", "price": {"amount": "1", "currency": "EUR"}}'
    lines = [part for number, (_, line) in enumerate(BAD_NDJSON) for part in (line, good % number)]
    async with importing(settings) as scene:
        seen = await scene.imported(b"\n".join(lines), NDJSON)
        assert faults(seen) == [(1 + 2 * number, code) for number, (code, _) in enumerate(BAD_NDJSON)]
        assert (seen["state"], seen["done"], seen["failed"]) == ("finished", len(BAD_NDJSON), len(BAD_NDJSON))
        assert SECRET not in json.dumps(seen)


@pytest.mark.parametrize(
    ("body", "media", "code"),
    [
        (b"", CSV, "no-rows"),
        (b"\n\n", CSV, "no-rows"),
        (HEADER.encode(), CSV, "no-rows"),
        (b"", NDJSON, "no-rows"),
        (b"sku;name;price;currency\n", CSV, "wrong-header"),
        (b"sku,name,price\n", CSV, "wrong-header"),
        (b"sku,name,price,currency,verysecretvalue\n", CSV, "wrong-header"),
        (b"sku,name,price,currency,sku\n", CSV, "wrong-header"),
        (b"sku," * 32_000 + b"sku\na,b,1.00,EUR\n", CSV, "wrong-header"),
        (HEADER.encode("utf-16"), CSV, "invalid-utf-8"),
        (b'sku,"name,price,currency\n', CSV, "broken-quotes"),
    ],
)
async def test_a_file_that_cannot_be_read_fails_as_a_whole(
    settings: Settings, body: bytes, media: str, code: str
) -> None:
    async with importing(settings) as scene:
        seen = await scene.imported(body, media)
        assert (seen["state"], faults(seen), seen["done"], seen["failed"]) == ("failed", [(1, code)], 0, 0)
        assert SECRET not in json.dumps(seen)
        assert await scene.products() == {}


async def test_only_so_many_errors_are_told_and_all_are_counted(settings: Settings) -> None:
    body = HEADER + "\n" + "A,a,1.00,EUR,x\n" * 1500
    async with importing(settings) as scene:
        seen = await scene.imported(body.encode())
    assert (seen["failed"], seen["total"], len(seen["errors"])) == (1500, 1500, 100)
    assert faults(seen)[-1] == (101, "int-type")


async def test_of_rows_with_one_sku_the_first_is_taken(settings: Settings) -> None:
    rows = [row(number, sku=f"sku-{number % 7}") for number in range(2 * CHUNK)]
    async with importing(settings) as scene:
        seen = await scene.imported(written(rows))
        assert (seen["done"], seen["failed"]) == (7, 2 * CHUNK - 7)
        assert faults(seen)[0] == (9, "already-taken")
        again = await scene.imported(written(row(number, sku=f"SKU-{number}") for number in range(7)))
        assert (again["done"], again["failed"]) == (0, 7)


async def test_short_turns_come_to_the_same_end(settings: Settings) -> None:
    rows = [row(number) for number in range(3 * CHUNK + 1)]
    async with importing(settings, turn_seconds=0.0) as scene:
        import_id, turns = await scene.upload(written(rows)), 0
        while (seen := await scene.seen(import_id))["state"] != "finished":
            assert await scene.importer.turn(import_id)
            turns += 1
        assert turns > 3
        assert (seen["done"], seen["failed"]) == (len(rows), 0)
        assert len(await scene.products()) == len(rows)


async def test_a_file_in_a_bucket_is_read_on_from_where_the_last_turn_ended(settings: Settings) -> None:
    rows = [row(number) for number in range(2 * CHUNK + 1)]
    stand_in = S3StandIn()
    async with serving(stand_in) as port:
        told = Settings.model_validate({**settings.model_dump(), **s3_settings(port)})
        async with importing(told, turn_seconds=0.0) as scene:
            import_id = await scene.upload(written(rows))
            assert [thing.content for thing in stand_in.things.values()] == [written(rows)]
            stand_in.failing = 503
            assert await scene.importer.turn(import_id)
            stand_in.failing = None
            await scene.database.execute("UPDATE imports SET wake_at = now(), leased_until = NULL")
            seen = await scene.done(import_id)
            assert (seen["done"], seen["failed"], seen["errors"]) == (len(rows), 0, [])
            await scene.database.execute("UPDATE imports SET finished_at = finished_at - interval '61 minutes'")
            await scene.importer.tidy()
        assert not stand_in.things
    assert len([line for line in stand_in.seen if line.startswith("GET")]) > 4


class Faltering:
    """Commands that come to an end as they should, but now and then nobody is told."""

    def __init__(self, inner: CommandHandler, error: Exception, every: int) -> None:
        self._inner = inner
        self._error = error
        self._every = every
        self.calls = 0

    async def create_many(
        self, groups: Iterable[Sequence[CreateRequest]], *, resting_on: Sequence[StreamRef] = ()
    ) -> Sequence[Exception | None]:
        begun = [beginning for group in groups for beginning in group]
        self.calls += len(begun)
        falters = self.calls // self._every > (self.calls - len(begun)) // self._every
        if falters and isinstance(self._error, Unavailable):
            return [*(None for _ in begun[1:]), self._error]
        endings = await self._inner.create_many([begun], resting_on=resting_on)
        return [*endings[1:], self._error] if falters else endings


@pytest.mark.parametrize("error", [Unavailable("away"), OutcomeUnknown("lost"), TimeoutError()])
async def test_a_row_is_not_bad_because_the_database_was_away(settings: Settings, error: Exception) -> None:
    rows = [row(number) for number in range(2 * CHUNK)]
    async with importing(settings) as scene:
        scene.importer._commands = Faltering(scene.importer._commands, error, 3 * CHUNK // 2)  # type: ignore[assignment]
        import_id = await scene.upload(written(rows))
        while (seen := await scene.seen(import_id))["state"] != "finished":
            await scene.database.execute("UPDATE imports SET wake_at = now(), leased_until = NULL")
            assert await scene.importer.turn(import_id)
        assert (seen["done"], seen["failed"], seen["errors"]) == (len(rows), 0, [])
        assert await scene.products() == {each["sku"]: 5 for each in rows}


async def test_a_row_that_was_carried_out_long_ago_is_done_without_its_key(settings: Settings) -> None:
    rows = [row(number) for number in range(10)]
    async with importing(settings) as scene:
        import_id = await scene.upload(written(rows))
        await scene.done(import_id)
        await scene.database.execute("DELETE FROM commands")
        await scene.database.execute(
            "UPDATE imports SET state = 'running', line = 2, \"offset\" = 0, done = 0, finished_at = NULL,"
            " wake_at = now(), leased_until = NULL"
        )
        seen = await scene.done(import_id)
        assert (seen["done"], seen["failed"]) == (10, 0)
        assert len(await scene.products()) == 10


async def test_only_one_worker_is_at_an_import_and_a_former_one_counts_nothing(settings: Settings) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written(row(number) for number in range(10)))
        (former,) = await imports.claim(scene.database, 1)
        assert not await scene.importer.turn(import_id)
        await scene.database.execute("UPDATE imports SET wake_at = now(), leased_until = NULL")
        assert (await scene.done(import_id))["done"] == 10
        for write in (
            imports.advance(scene.database, former, imports.Checkpoint(0, 3, 30, 1, 0)),
            imports.count(scene.database, former, 7),
            imports.WORK.renew(scene.database, former),
            imports.WORK.release(scene.database, former),
            imports.WORK.put_off(scene.database, former, "late"),
            imports.conclude(scene.database, former),
            imports.give_up(scene.database, former, [{}]),
        ):
            assert not await write
        assert (await scene.seen(import_id))["done"] == 10


async def test_a_checkpoint_counts_from_where_the_last_one_ended_alone(settings: Settings) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written(row(number) for number in range(10)))
        (mine,) = await imports.claim(scene.database, 1)
        assert mine is not None
        step = imports.Checkpoint(0, 3, 30, 1, 0)
        assert await imports.advance(scene.database, mine, step)
        assert not await imports.advance(scene.database, mine, step)
        assert (await scene.seen(import_id))["done"] == 1


@pytest.mark.parametrize("command", [ChangeRoles(roles=(Role.CUSTOMER,)), DeactivateAccount()])
async def test_an_import_ends_with_what_its_owner_may_do(settings: Settings, command: Any) -> None:
    async with importing(settings, turn_seconds=0.0) as scene:
        import_id = await scene.upload(written(row(number) for number in range(3 * CHUNK)))
        assert await scene.importer.turn(import_id)
        before = len(await scene.products())
        assert 0 < before < 3 * CHUNK
        async with write_side(settings.database_url.get_secret_value()) as side:
            await side.commands.handle((ACCOUNTS, scene.staff.id), command, context())
        assert await scene.importer.turn(import_id)
        assert not await scene.importer.turn(import_id)
        (told,) = await scene.database.fetch("SELECT state, errors FROM imports")
        assert told["state"] == "failed"
        assert orjson.loads(told["errors"])[0]["code"] == "insufficient-scope"
        assert len(await scene.products()) == before


async def test_an_import_that_never_comes_further_is_given_up(settings: Settings) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written([row(1)]))
        await scene.database.execute("UPDATE imports SET attempts = 20")
        seen = await scene.done(import_id)
        assert (seen["state"], faults(seen)) == ("failed", [(1, "given-up")])


async def test_a_lost_file_fails_its_import(settings: Settings) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written([row(1)]))
        await scene.storage.delete(imports.file_of(import_id, "csv"))
        assert faults(await scene.done(import_id)) == [(1, "file-lost")]


async def test_products_of_an_import_have_ids_of_their_own() -> None:
    one, other = uuid4(), uuid4()
    ids = {product_of(import_id, line) for import_id in (one, other) for line in range(1, 20_000)}
    assert len(ids) == 2 * 19_999
    assert all(each.version == 7 and each.variant == one.variant for each in ids)


async def test_the_same_request_twice_is_one_import(settings: Settings) -> None:
    body = written([row(1)])
    async with importing(settings) as scene:
        first = await scene.send(body, idempotency_key="k")
        again = await scene.send(body, idempotency_key="k")
        assert again.json() == first.json()
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        other = await scene.send(written([row(2)]), idempotency_key="k")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
        kind = await scene.send(body, NDJSON, idempotency_key="k")
        assert (kind.status_code, kind.json()["code"]) == (422, "idempotency-key-reused")
        rows = await scene.database.fetch("SELECT state FROM imports")
        assert [row["state"] for row in rows] == ["waiting"]
        assert len(list((scene.settings.data_dir / "storage" / "imports").iterdir())) == 1


async def test_the_same_request_twice_at_once_is_one_import(settings: Settings) -> None:
    body = written([row(1)])
    async with importing(settings) as scene:
        answers = await asyncio.gather(*[scene.send(body, idempotency_key="k") for _ in range(4)])
        answers.append(await scene.send(body, idempotency_key="k"))
        taken = [answer for answer in answers if answer.status_code == 202]
        assert len({answer.json()["id"] for answer in taken}) == 1
        assert {answer.json()["code"] for answer in answers if answer not in taken} <= {"idempotency-key-in-flight"}
        assert len(await scene.database.fetch("SELECT FROM imports")) == 1


async def test_an_account_has_only_so_many_imports_at_once(settings: Settings) -> None:
    async with importing(settings) as scene:
        body = written([row(1)])
        answers = await asyncio.gather(*[scene.send(body) for _ in range(MOST_UNFINISHED + 3)])
        assert sorted(answer.status_code for answer in answers) == [202] * MOST_UNFINISHED + [409] * 3
        (code,) = {answer.json()["code"] for answer in answers if answer.status_code == 409}
        assert code == "too-many-imports"
        assert (await scene.send(body, by=await scene.shop.client(Role.STAFF))).status_code == 202
        accepted = next(answer for answer in answers if answer.status_code == 202)
        await scene.done(UUID(accepted.json()["id"]))
        assert (await scene.send(body)).status_code == 202


async def test_an_upload_that_breaks_off_leaves_nothing_behind(settings: Settings) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield HEADER.encode()
        yield b"\n" * 100_000
        raise RuntimeError("the line went dead")

    async with importing(settings) as scene:
        with pytest.raises(RuntimeError):
            await scene.send(breaking())
        async with asyncio.timeout(5):
            while await scene.database.fetch("SELECT FROM imports"):  # noqa: ASYNC110 - the server hears of it later
                await asyncio.sleep(0.01)
        files = [path for path in (scene.settings.data_dir / "storage").rglob("*") if path.is_file()]
        assert files == []


async def test_a_file_that_is_too_large_is_refused_as_it_comes(settings: Settings) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(101):
            yield b"\n" * 1024 * 1024

    async with importing(settings) as scene:
        answer = await scene.send(endless())
        assert (answer.status_code, answer.json()["code"]) == (413, "content-too-large")
        assert await scene.database.fetch("SELECT FROM imports") == []


async def test_a_file_that_only_drips_is_given_up_in_time(settings: Settings) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async with importing(settings) as scene:
        intake, account = ImportUploads(scene.database, scene.storage, whole=0.2), scene.staff.id
        with pytest.raises(Problem, match="request-timeout"):
            await intake.take(dripping(), imports.NewImport(uuid4(), account, "csv", "r"), _without_a_key)
        assert await scene.database.fetch("SELECT FROM imports") == []


async def _without_a_key(_known_by: bytes) -> CommandContext:
    return CommandContext(principal="staff")


@pytest.mark.parametrize("media", ["application/json", "text/plain", "text/csv; charset=latin-1", "text/csvx", ""])
async def test_only_csv_and_ndjson_in_utf_8_are_taken(settings: Settings, media: str) -> None:
    async with importing(settings) as scene:
        answer = await scene.send(b"x", media)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
        assert answer.headers["accept"] == "application/x-ndjson, text/csv"
        assert (await scene.send(b"x", 'Text/CSV; Charset="utf-8"')).status_code == 202


async def test_others_see_no_import_but_operators_do(settings: Settings) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written([row(1)]))
        other, admin, customer = [await scene.shop.client(role) for role in (Role.STAFF, Role.ADMIN, Role.CUSTOMER)]
        assert (await other.send("GET", f"/v1/imports/{import_id}")).status_code == 404
        assert (await customer.send("GET", f"/v1/imports/{import_id}")).status_code == 403
        assert (await scene.send(b"x", by=customer)).status_code == 403
        assert (await scene.seen(import_id, admin))["id"] == str(import_id)
        assert (await scene.staff.send("GET", f"/v1/imports/{uuid4()}")).status_code == 404


async def test_what_is_over_is_cleared_away(settings: Settings) -> None:
    async with importing(settings) as scene:
        over, open_ = await scene.upload(written([row(1)])), await scene.upload(written([row(2)]))
        await scene.done(over)
        folder = scene.settings.data_dir / "storage" / "imports"
        await scene.database.execute(
            "INSERT INTO imports (import_id, account_id, media, state, created_at)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), 'csv', 'uploading', now() - interval '21 minutes')"
        )
        await scene.importer.tidy()
        assert {path.name for path in folder.iterdir()} == {f"{over}.csv", f"{open_}.csv"}
        await scene.database.execute("UPDATE imports SET finished_at = finished_at - interval '61 minutes'")
        await scene.importer.tidy()
        assert [path.name for path in folder.iterdir()] == [f"{open_}.csv"]
        assert (await scene.seen(over))["done"] == 1
        states = await scene.database.fetch("SELECT state FROM imports ORDER BY state")
        assert [row["state"] for row in states] == ["abandoned", "finished", "waiting"]
        await scene.database.execute(
            "UPDATE imports SET created_at = now() - interval '31 days', finished_at = finished_at - interval '31 days'"
        )
        await scene.importer.tidy()
        assert [row["import_id"] for row in await scene.database.fetch("SELECT import_id FROM imports")] == [open_]


async def test_an_import_whose_end_was_lost_in_a_failover_goes_on_with_its_file(settings: Settings) -> None:
    async with importing(settings) as scene:
        import_id = await scene.upload(written(row(number) for number in range(10)))
        await scene.done(import_id)
        await scene.importer.tidy()
        # The standby had heard of the first checkpoint, and not of the end.
        await scene.database.execute(
            "UPDATE imports SET state = 'running', done = 9, finished_at = NULL, wake_at = now(), leased_until = NULL,"
            ' line = 11, "offset" = (SELECT $1::bigint)',
            len(written(row(number) for number in range(9))),
        )
        seen = await scene.done(import_id)
        assert (seen["state"], seen["done"], seen["errors"]) == ("finished", 10, [])


async def test_a_process_that_wakes_after_its_upload_was_given_up_makes_no_import_of_it(
    settings: Settings,
) -> None:
    async with importing(settings) as scene:
        new = imports.NewImport(uuid4(), scene.staff.id, "csv", "r")
        await imports.begin(scene.database, new, await _without_a_key(b""))
        await scene.database.execute("UPDATE imports SET created_at = now() - interval '21 minutes'")
        assert await imports.abandon_uploads(scene.database) == 1
        with pytest.raises(Unavailable):
            await imports.uploaded(scene.database, new, await _without_a_key(b""))
        assert await imports.see(scene.database, new.import_id) is None


async def test_an_upload_that_becomes_an_import_at_this_moment_is_not_given_up(
    settings: Settings, database_url: str
) -> None:
    async with importing(settings) as scene:
        new = imports.NewImport(uuid4(), scene.staff.id, "csv", "r")
        await imports.begin(scene.database, new, await _without_a_key(b""))
        await scene.database.execute("UPDATE imports SET created_at = now() - interval '21 minutes'")
        async with connected(database_url) as other, other.transaction():
            await other.execute("UPDATE imports SET state = 'waiting' WHERE import_id = $1", new.import_id)
            assert await imports.abandon_uploads(scene.database) == 0
        seen = await imports.see(scene.database, new.import_id)
        assert seen is not None
        assert seen.state == "waiting"


async def test_a_process_that_sleeps_in_the_turn_of_an_account_loses_it(settings: Settings) -> None:
    database = Database(pool_of(settings))
    async with database.write() as connection:
        await take_turn(connection, "imports", uuid4())
        assert await connection.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')") == "1s"
    async with database.acquire() as reader:
        assert await reader.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')") != "1s"
    await database.close()
