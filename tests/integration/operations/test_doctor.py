"""`weir doctor` has nothing to say of what is well, finds each fault by the check for it, and waits for nobody."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.doctor.checks import CHECKS, examine
from cli.doctor.finding import Check, Examined, Finding
from cli.doctor.patient import Limits, Patient
from cli.doctor.redis_memory import of_disk
from cli.doctor.versions import fault_of, of_postgres, of_redis
from cli.main import build
from infra.identity.key_wrapping import KeyWrapping
from infra.postgres.connect import PINNED
from infra.postgres.schema_version import newest
from infra.settings import Settings
from infra.settings.names import name_of
from tests.conftest import SHARDS
from tests.support.failover import make_cluster, pair
from tests.support.memory_folder import memory_folder
from tests.support.ward import Ward, of, transaction_pooler, ward
from tests.support.write_side import connected, eventually

pytestmark = pytest.mark.anyio

FIRST, SECOND = (SecretStr(f"{letter * 8}{'0123456789abcdefghijklmnopqrstuvwxy'}=") for letter in "AB")


@pytest.fixture(scope="module")
async def well(servers: object, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ward]:
    """Each test leaves it as it was. Where no server can start, ``servers`` has said so."""
    with memory_folder(tmp_path_factory.mktemp("ward")) as folder:
        async with ward(folder) as opened:
            yield opened


def told(examined: Examined) -> str:
    """All that was found, in a line."""
    return "; ".join(f"{each.severity}: {each.told}" for each in examined.findings)


async def test_nothing_is_said_of_what_is_well(well: Ward) -> None:
    patient = well.patient(encryption_keys=(FIRST,))
    assert {each.name: told(each) for each in await examine(patient) if each.findings} == {}


async def test_each_finding_has_a_fix_and_tells_no_secret(well: Ward) -> None:
    nowhere = "127.0.0.1:1"
    patient = well.patient(
        database_url=SecretStr(f"postgresql://weir:sesame-open@{nowhere}/weir"),
        redis_url=SecretStr(f"redis://:sesame-open@{nowhere}/0"),
        smtp_url=SecretStr(f"smtp://weir:sesame-open@{nowhere}"),
        payment_provider_url=f"http://{nowhere}",
        storage_url="file:///proc/none",
    )
    examined = await examine(patient)
    found = [each for check in examined for each in check.findings]
    assert len(found) > len(CHECKS) / 2
    assert [each for each in found if not (each.told and each.means and each.fix)] == []
    assert "sesame" not in repr(examined)


UP_TO_DATE: Final = f"UPDATE alembic_version SET version_num = '{newest()}'"
SPOILED: Final[dict[str, tuple[str, Sequence[str], Sequence[str], str]]] = {
    "commits that wait for no disk": (
        "durability",
        ["ALTER DATABASE weir SET synchronous_commit = off"],
        ["ALTER DATABASE weir RESET synchronous_commit"],
        "problem: synchronous_commit is off",
    ),
    "an older schema": (
        "schema",
        ["UPDATE alembic_version SET version_num = '0039'"],
        [UP_TO_DATE],
        "problem: the schema is at 0039, this release needs",
    ),
    "a newer schema": (
        "schema",
        ["UPDATE alembic_version SET version_num = '9999'"],
        [UP_TO_DATE],
        "problem: the schema is at 9999, which a newer release has made",
    ),
    "a read model of an older release": (
        "schema",
        ["UPDATE generations SET code_version = 0 WHERE projection = 'room_card'"],
        ["UPDATE generations SET code_version = 1 WHERE projection = 'room_card'"],
        "problem: read models that this release folds otherwise: room_card",
    ),
    "a column that somebody has added": (
        "schema drift",
        ["ALTER TABLE claims ADD COLUMN note text"],
        ["ALTER TABLE claims DROP COLUMN note"],
        "advice: only the migrations make claims: column note text",
    ),
    "a slot that nobody uses": (
        "replication",
        ["SELECT pg_create_physical_replication_slot('gone', true)", "SELECT pg_switch_wal()"],
        ["SELECT pg_drop_replication_slot('gone')"],
        "problem: the replication slot gone is used by nobody",
    ),
    "rows that are dead": (
        "dead rows",
        [
            "CREATE TABLE dead (i int) WITH (autovacuum_enabled = off)",
            "INSERT INTO dead SELECT generate_series(1, 100)",
            "DELETE FROM dead",
            "SELECT pg_stat_force_next_flush()",
        ],
        ["DROP TABLE dead"],
        "advice: dead has 100 dead rows beside 0 that live",
    ),
    "an event that nobody has applied": (
        "lag",
        [
            "INSERT INTO events VALUES (1, '00000000-0000-0000-0000-000000000001', 1, 'order', 0, 'order.paid', 1,"
            " '{}', '{}', now() - interval '1 hour')"
        ],
        ["DELETE FROM events"],
        "problem: order_summary is 1 events behind, 360",
    ),
    "a parked stream": (
        "parked streams",
        [
            "INSERT INTO parked (consumer, generation, shard, stream_id, position, event_type, error)"
            " VALUES ('room_card', 1, 0, gen_random_uuid(), 1, 'x', 'x')"
        ],
        ["DELETE FROM parked"],
        "problem: 1 streams are parked in room_card",
    ),
    "a mail that is owed for long": (
        "what is owed",
        [
            "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id, created_at)"
            " VALUES (gen_random_uuid(), 1, 'x', 'x', '{}', 'x', now() - interval '1 hour')"
        ],
        ["DELETE FROM mail_ledger"],
        "problem: a mail is owed for 360",
    ),
    "a mail that was given up": (
        "what is owed",
        [
            "INSERT INTO mail_ledger (mail_id, position, kind, recipient, context, message_id, state)"
            " VALUES (gen_random_uuid(), 1, 'x', 'x', '{}', 'x', 'failed')"
        ],
        ["DELETE FROM mail_ledger"],
        "problem: 1 mails were given up",
    ),
    "a refund that was refused": (
        "what is owed",
        [
            "INSERT INTO refund_ledger (payment_id, order_id, position, amount, currency, was, refused_at)"
            " VALUES ('x', gen_random_uuid(), 1, 1, 'EUR', 'x', now())"
        ],
        ["DELETE FROM refund_ledger"],
        "problem: 1 refunds were refused",
    ),
    "a key that has signed for long": (
        "signing keys",
        [
            "INSERT INTO signing_keys (kid, wrapped, created_at, activates_at)"
            " VALUES ('x', 'x', now() - interval '400 days', now() - interval '400 days')"
        ],
        ["DELETE FROM signing_keys"],
        "advice: the key that signs access tokens is 400 days old",
    ),
}

KEEN: Final = Limits(transaction_seconds=0, slot_bytes=0, dead_rows=60)


@pytest.mark.parametrize("what", SPOILED)
async def test_a_fault_in_the_database_is_found(well: Ward, what: str) -> None:
    check, spoil, mend, wanted = SPOILED[what]
    patient = replace(well.patient(), limits=KEEN)
    before = told(await of(check, patient))
    try:
        await well.does_as_admin(*spoil)
        assert wanted in told(await of(check, patient))
    finally:
        await well.does_as_admin(*mend)
    assert (before, told(await of(check, patient))) == ("", "")


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "autovacuum", "track_counts"])
async def test_a_server_that_gives_up_what_promises_stand_on_is_found(well: Ward, name: str) -> None:
    async def becomes(value: str) -> None:
        async def is_so() -> bool:
            return bool(await well.does_as_admin(f"SHOW {name}") == value)

        await well.does_as_admin("SELECT pg_reload_conf()")
        await eventually(is_so, 10)

    await well.does_as_admin(f"ALTER SYSTEM SET {name} = off")
    await becomes("off")
    found = await of("durability", well.patient())
    await well.does_as_admin(f"ALTER SYSTEM RESET {name}")
    await becomes("on")
    assert told(found) == f"problem: {name} is off"
    assert f"ALTER SYSTEM SET {name} = on" in found.findings[0].fix


async def test_a_transaction_that_is_held_open_is_found_with_its_end(well: Ward) -> None:
    patient = replace(well.patient(), limits=KEEN)
    connection = await asyncpg.connect(well.postgres.url)
    await connection.execute("BEGIN; SELECT 1")
    found = await of("transactions", patient)
    pid = connection.get_server_pid()
    await connection.close()
    assert f"pid {pid}, idle in transaction" in told(found)
    assert found.findings[0].fix == f"SELECT pg_terminate_backend({pid})"
    await well.does("BEGIN", "SELECT 1", "PREPARE TRANSACTION 'forgotten'")
    found = await of("transactions", patient)
    await well.does("ROLLBACK PREPARED 'forgotten'")
    assert [each.fix for each in found.findings] == ["ROLLBACK PREPARED 'forgotten'"]
    assert told(await of("transactions", well.patient())) == ""


async def test_connections_that_run_out_are_found(well: Ward) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(14):
            connection = await asyncpg.connect(well.postgres.url)
            stack.push_async_callback(connection.close)
        found = await of("connections", well.patient())
    assert "of 17 connections are taken" in told(found)


async def test_a_pooler_that_the_settings_do_not_know_of_is_found(well: Ward, tmp_path: Path) -> None:
    direct = SecretStr(well.postgres.url)
    async with transaction_pooler(tmp_path, well.postgres.url) as url:
        unknown = await of("pooler", well.patient(database_url=SecretStr(url), database_direct_url=direct))
        no_way = await of("pooler", well.patient(database_url=SecretStr(url), pgbouncer=True))
        known = well.patient(database_url=SecretStr(url), database_direct_url=direct, pgbouncer=True)
        assert told(await of("pooler", known)) == ""
    assert told(unknown).startswith("problem: DATABASE_URL goes through a pooler in transaction mode")
    assert told(no_way) == "problem: DATABASE_DIRECT_URL is not set"


async def test_settings_that_a_pooler_does_not_carry_are_found_and_the_one_that_is_deployed_has_them(
    well: Ward, tmp_path: Path
) -> None:
    direct = SecretStr(well.postgres.url)
    others = {"default_transaction_isolation": "serializable", "array_nulls": "off", "gin_fuzzy_search_limit": "1"}
    carried = {"standard_conforming_strings": "off", "TimeZone": "Europe/Berlin"}
    assert others.keys() | carried.keys() == PINNED.keys()
    await well.does(*[f"ALTER DATABASE weir SET {name} = '{value}'" for name, value in (others | carried).items()])
    try:
        found = await of("database", well.patient(pgbouncer=True, database_direct_url=direct))
        assert told(await of("database", well.patient())) == ""
        async with transaction_pooler(tmp_path, well.postgres.url) as url:
            pooled = well.patient(database_url=SecretStr(url), database_direct_url=direct, pgbouncer=True)
            assert told(await of("database", pooled)) == ""
    finally:
        await well.does(*[f"ALTER DATABASE weir RESET {name}" for name in PINNED])
    assert {each.told for each in found.findings} == {
        f"{name} is {value} behind the pooler" for name, value in others.items()
    }
    assert "ALTER ROLE weir IN DATABASE weir SET array_nulls = 'on'; in PgBouncer RECONNECT" in {
        each.fix for each in found.findings
    }


async def test_a_database_in_which_nothing_keeps_rows_together_is_found(well: Ward) -> None:
    await well.does_as_admin("ALTER DATABASE weir SET session_replication_role = replica")
    found = await of("database", well.patient())
    await well.does_as_admin("ALTER DATABASE weir RESET session_replication_role")
    assert told(found) == "problem: session_replication_role is replica"
    assert "ALTER DATABASE weir RESET session_replication_role" in found.findings[0].fix


async def test_a_database_that_cannot_hold_every_letter_is_found(well: Ward) -> None:
    await well.does("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    latin = SecretStr(f"{well.postgres.url.rpartition('/')[0]}/latin")
    found = await of("database", well.patient(database_url=latin))
    await well.does("DROP DATABASE latin")
    assert told(found) == "problem: the database is in LATIN1"


async def test_ways_that_lead_to_two_databases_are_found(well: Ward) -> None:
    await well.does("CREATE DATABASE other TEMPLATE template0")
    other = SecretStr(f"{well.postgres.url.rpartition('/')[0]}/other")
    found = await of("pooler", well.patient(database_direct_url=other))
    await well.does("DROP DATABASE other")
    assert "lead to different databases" in told(found)
    found = await of("pooler", well.patient(pgbouncer=True, database_direct_url=SecretStr(well.postgres.url)))
    assert told(found) == "advice: WEIR_PGBOUNCER is true, and no pooler was noticed"


async def test_a_replica_that_is_none_or_of_another_log_is_found(well: Ward) -> None:
    itself = await of("read replica", well.patient(database_read_url=SecretStr(well.postgres.url)))
    assert told(itself) == "advice: DATABASE_READ_URL leads to a server that takes writes"
    elsewhere = SecretStr(f"{well.postgres.url.rpartition('/')[0]}/elsewhere")
    await well.does("CREATE DATABASE elsewhere TEMPLATE weir")
    async with connected(elsewhere.get_secret_value()) as connection:
        await connection.execute("UPDATE log_head SET log_id = gen_random_uuid()")
    other = await of("read replica", well.patient(database_read_url=elsewhere))
    await well.does("DROP DATABASE elsewhere WITH (FORCE)")
    assert told(other) == "problem: DATABASE_READ_URL leads to another log"


async def test_a_standby_that_does_not_keep_up_is_found_at_both_ends(well: Ward, tmp_path: Path) -> None:
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    await asyncio.to_thread(make_cluster, cluster, SHARDS)
    async with pair(cluster, tmp_path, door=False) as servers:
        urls = {"database_url": servers.primary.url, "database_read_url": servers.standby.url}
        patient = well.patient(**{name: SecretStr(url) for name, url in urls.items()})
        assert told(await of("replication", patient)) == "advice: there is a standby that weir may not look at"
        async with connected(servers.primary.admin_url) as admin:
            await admin.execute("GRANT pg_monitor TO weir")
        assert [told(await of(name, patient)) for name in ("read replica", "replication")] == ["", ""]
        keen = replace(patient, limits=Limits(standby_seconds=0, standby_bytes=0))
        async with connected(servers.primary.url) as primary, connected(servers.standby.admin_url) as standby:
            await primary.execute("CREATE TABLE before ()")
            await eventually(lambda: standby.fetchval("SELECT pg_last_xact_replay_timestamp() IS NOT NULL"))
            await standby.execute("SELECT pg_wal_replay_pause()")
            await eventually(lambda: standby.fetchval("SELECT pg_get_wal_replay_pause_state() = 'paused'"))
            await primary.execute("CREATE TABLE since ()")

            async def behind(name: str) -> bool:
                return "behind" in told(await of(name, keen))

            await eventually(lambda: behind("read replica"), 20)
            await eventually(lambda: behind("replication"), 20)
            await standby.execute("SELECT pg_wal_replay_resume()")


@pytest.mark.parametrize(
    ("changed", "back", "wanted"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, {"maxmemory_policy": "volatile-lru"}, "which evicts streams and jobs"),
        ({"maxmemory_policy": "noeviction"}, {"maxmemory_policy": "volatile-lru"}, "so that documents fill Redis"),
        ({"maxmemory": "0"}, {"maxmemory": "256mb"}, "maxmemory is not set"),
        ({"maxmemory": "64mb"}, {"maxmemory": "256mb"}, "streams are kept within"),
    ],
)
async def test_a_redis_that_would_evict_or_fill_up_is_found(
    well: Ward, changed: dict[str, str], back: dict[str, str], wanted: str
) -> None:
    await well.configures(**changed)
    found = await of("Redis' memory", well.patient())
    await well.configures(**back)
    assert (found.severity, wanted in told(found)) == ("problem", True)


async def test_the_redis_of_jobs_must_evict_none(well: Ward) -> None:
    await well.configures(maxmemory_policy="allkeys-lfu")
    found = await of("Redis' memory", well.patient(arq_redis_url=SecretStr(well.valkey.url)))
    await well.configures(maxmemory_policy="volatile-lru")
    assert "of ARQ_REDIS_URL: maxmemory-policy is allkeys-lfu" in told(found)


async def test_a_redis_that_writes_to_its_disk_is_found(well: Ward) -> None:
    await well.configures(appendonly="yes")
    found = await of("Redis' disk", well.patient())
    await well.configures(appendonly="no")
    assert told(found) == "advice: appendonly is on"
    assert of_disk({"rdb_last_bgsave_status": "err"})[0].severity == "problem"


@pytest.mark.parametrize("check", ["PostgreSQL's clock", "Redis' clock"])
@pytest.mark.parametrize(("seconds", "severity"), [(-3600, "problem"), (60, "problem"), (3, "advice"), (0, "ok")])
async def test_a_clock_that_is_wrong_is_found(well: Ward, check: str, seconds: float, severity: str) -> None:
    here = well.patient()
    found = await of(check, replace(here, clock=lambda: here.clock() + seconds))
    assert found.severity == severity
    assert f"{abs(seconds)}.0 s {'behind' if seconds > 0 else 'before'}" in told(found) or not seconds


async def test_secrets_that_cannot_be_read_or_lie_under_an_old_key_are_found(well: Ward) -> None:
    wrapped = KeyWrapping([SECOND]).wrap(b"x" * 32, "server_secret")
    await well.does(f"INSERT INTO server_secret (wrapped) VALUES ('{wrapped}')")
    found = [
        told(await of("encryption keys", well.patient(encryption_keys=keys)))
        for keys in ((FIRST,), (FIRST, SECOND), (SECOND,), ())
    ]
    await well.does("DELETE FROM server_secret")
    assert "which is not in WEIR_ENCRYPTION_KEYS" in found[0]
    assert found[1] == "advice: 1 secrets are encrypted under a key that is not the first"
    assert found[2] == ""
    assert found[3] == "advice: WEIR_ENCRYPTION_KEYS is not set here"


async def test_a_mail_server_that_does_not_answer_or_has_no_tls_is_found(well: Ward) -> None:
    nowhere = await of("mail server", well.patient(smtp_url=SecretStr("smtp://127.0.0.1:1")))
    assert told(nowhere) == "problem: the mail server at 127.0.0.1:1 cannot be used: connection refused"
    url = well.settings.smtp_url.get_secret_value()
    in_clear = await of("mail server", well.patient(smtp_url=SecretStr(url.replace("smtp:", "starttls:"))))
    assert in_clear.severity == "problem"


async def test_a_provider_that_is_not_named_or_not_there_is_found(well: Ward) -> None:
    assert told(await of("payment provider", well.patient(payment_provider_url=None))).startswith("advice: ")
    nowhere = await of("payment provider", well.patient(payment_provider_url="http://127.0.0.1:1"))
    assert told(nowhere) == "problem: the payment provider cannot be reached: connection refused"


async def test_a_storage_that_takes_nothing_and_a_disk_that_is_full_are_found(well: Ward) -> None:
    assert (await of("storage", well.patient(storage_url="file:///proc/none"))).severity == "problem"
    full = replace(well.patient(), limits=Limits(disk=0.0, disk_full=0.0))
    nearly = replace(well.patient(), limits=Limits(disk=0.0, disk_full=1.0))
    assert [(await of("disks", each)).severity for each in (full, nearly)] == ["problem", "advice"]
    assert not (well.settings.data_dir / "storage" / "doctor").exists() or not [
        *(well.settings.data_dir / "storage" / "doctor").iterdir()
    ]


async def test_secrets_that_only_development_lets_through_are_found(well: Ward) -> None:
    weak = Settings.model_validate(
        {"environment": "development", "database_url": "postgresql://weir:weir@localhost/weir"}
    )
    found = await of("secrets", Patient(settings=weak))
    assert [each.severity for each in found.findings] == ["advice", "advice"]
    assert "DATABASE_URL" in found.findings[1].told


def test_versions_that_nobody_has_tried_are_found() -> None:
    assert fault_of("asyncpg>=99") is not None
    assert fault_of("asyncpg>=0.31") is None
    assert fault_of("arq<0.1,>=0.01") is not None
    assert fault_of("no-such-package>=1") == "no-such-package is not installed"
    assert fault_of('no-such-package>=1; extra == "dev"') is None
    assert [each.severity for each in of_postgres(17, 4)] == ["problem"]
    assert [each.severity for each in of_redis("6.2.1")] == ["problem"]
    assert [*of_postgres(18, 1), *of_redis("7.0.0"), *of_redis("9.0.1")] == []


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A server that takes every connection and says nothing."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()


async def test_servers_that_hang_stop_nothing(well: Ward) -> None:
    async with silent() as port, asyncio.timeout(60):
        patient = well.patient(
            database_url=SecretStr(f"postgresql://weir:sesame-open@127.0.0.1:{port}/weir"),
            smtp_url=SecretStr(f"smtp://127.0.0.1:{port}"),
            payment_provider_url=f"http://127.0.0.1:{port}",
        )
        examined = {each.name: each.severity for each in await examine(patient)}
    hangs = {"PostgreSQL", "schema", "connections", "mail server", "payment provider", "what is owed"}
    assert {name for name in hangs if examined[name] != "problem"} == set()
    assert {name for name in ("Redis", "Redis' clock", "storage", "disks", "Python") if examined[name] != "ok"} == set()


async def test_a_check_that_never_ends_or_fails_is_told_of_and_stops_none() -> None:
    async def never(_: Patient) -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    async def breaks(_: Patient) -> Sequence[Finding]:
        raise ConnectionRefusedError

    async def fine(_: Patient) -> Sequence[Finding]:
        return []

    checks = [Check(name=each.__name__, examine=each, seconds=0.05) for each in (never, breaks, fine)]
    async with asyncio.timeout(30):
        examined = await examine(Patient(settings=Settings()), checks)
    assert [told(each) for each in examined] == [
        "problem: could not be looked at: no answer within 0.05 s",
        "problem: could not be looked at: connection refused",
        "",
    ]


def doctor(well: Ward, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[Any]]:
    for name in ("environment", "database_url", "redis_url", "smtp_url", "data_dir", "payment_provider_url"):
        value = getattr(well.settings, name)
        given = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(name_of(name, Settings.model_fields[name]), given)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, build(["doctor"]), ["doctor", *arguments])

    return run


async def test_the_command_tells_by_its_exit_code_how_bad_it_is(well: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    run = doctor(well, monkeypatch)
    fine = await run()
    assert (fine.exit_code, fine.output.count("\n")) == (0, len(CHECKS)), (fine.output, fine.exception)
    monkeypatch.setenv("WEIR_PAYMENT_PROVIDER_URL", "")
    assert (await run()).exit_code == 1
    monkeypatch.setenv("WEIR_SMTP_URL", "smtp://127.0.0.1:1")
    bad = await run("--json")
    assert bad.exit_code == 2
    rows = {row["check"]: row for row in json.loads(bad.output)}
    assert len(rows) == len(CHECKS)
    assert rows["mail server"]["severity"] == "problem"
    assert rows["mail server"]["findings"][0]["fix"]
