"""Connections to Redis: what they answer, and that they end when they are told to."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from infra.redis.client import BROKEN
from infra.redis.pipeline import PipelineConnection
from infra.redis.resp import pack
from infra.redis.topology.connection import connect_to
from infra.redis.topology.opening import open_wires
from tests.support.garbage import UNDER_UVLOOP
from tests.support.proxy import Proxy

pytestmark = pytest.mark.anyio


async def cancelled_after(url: SecretStr, turns: int) -> str:
    """Cancels a connect after so many turns of the event loop; answers what came of it."""
    connecting = asyncio.create_task(PipelineConnection.connect(url))
    for _ in range(turns):
        await asyncio.sleep(0)
    done = connecting.done()
    connecting.cancel()
    try:
        connection = await connecting
    except asyncio.CancelledError:
        return "cancelled"
    connection.close()
    return "done before" if done else "swallowed"


async def test_a_cancelled_connect_never_goes_on(redis_url: str) -> None:
    outcomes = Counter([await cancelled_after(SecretStr(redis_url), turns) for turns in range(400)])
    assert outcomes["cancelled"] > 0
    assert outcomes["swallowed"] == 0


async def test_who_was_cancelled_before_may_still_connect_to_clean_up(redis_url: str) -> None:
    async def work() -> bool:
        try:
            await asyncio.sleep(60)
        finally:
            connection = await PipelineConnection.connect(SecretStr(redis_url))
            connection.close()
            cleaned.set()
        return True

    cleaned = asyncio.Event()
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert cleaned.is_set()


async def test_a_server_that_is_a_replica_is_as_good_as_away(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        await redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(RedisConnectionError, match="replica"):
                await connect_to(SecretStr(redis_url), "")
            with pytest.raises(RedisConnectionError, match="replica"):
                await open_wires(SecretStr(redis_url))
        finally:
            await redis.execute_command("REPLICAOF", "NO", "ONE")
    (await connect_to(SecretStr(redis_url), "")).close()


# What a URL may ask for

SECRET = "p/s:w@rd"


@pytest.fixture
async def as_somebody(redis_url: str) -> AsyncIterator[str]:
    """The URL of a user of the server who has a password, with a database and a name."""
    async with Redis.from_url(redis_url) as redis:
        await redis.execute_command("ACL", "SETUSER", "somebody", "on", f">{SECRET}", "~*", "&*", "+@all")
        server = urlsplit(redis_url)
        yield f"redis://somebody:p%2Fs%3Aw%40rd@{server.hostname}:{server.port}/3?client_name=ours"
        await redis.execute_command("ACL", "DELUSER", "somebody")


async def test_the_url_says_who_connects_and_to_which_database(as_somebody: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(as_somebody))
    told = (await wire.ask_one(pack("CLIENT", "INFO"))).decode().split()
    assert {"user=somebody", "db=3", "name=ours"} <= set(told)
    wire.close()


@pytest.mark.parametrize(("right", "wrong"), [("p%2F", "wrong"), ("/3", "/999"), ("somebody:", "nobody:")])
async def test_a_server_that_does_not_want_us_is_none(as_somebody: str, right: str, wrong: str) -> None:
    with pytest.raises(RedisConnectionError) as refused:
        await PipelineConnection.connect(SecretStr(as_somebody.replace(right, wrong, 1)))
    assert SECRET not in str(refused.value)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine that it has signed itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, kinds, serialization.NoEncryption()))
    return folder / "cert.pem", folder / "key.pem"


@asynccontextmanager
async def ponging(folder: Path, scheme: str) -> AsyncIterator[str]:
    """A server that answers PONG to whatever it hears; yields its URL."""
    lines: list[asyncio.Task[None]] = []

    async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(1_000):
                writer.write(b"+PONG\r\n")
            writer.close()
            await writer.wait_closed()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(asyncio.create_task(pong(reader, writer)))

    cert, key = certificate(folder)
    if scheme == "unix":
        server, url = await asyncio.start_unix_server(take, folder / "redis.sock"), f"unix://{folder / 'redis.sock'}"
    else:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={cert}&ssl_check_hostname=true"
    async with server:
        yield url
    await asyncio.gather(*lines)


@pytest.mark.parametrize("scheme", ["unix", "rediss"])
async def test_a_server_is_reached_by_its_socket_or_by_tls(tmp_path: Path, scheme: str) -> None:
    async with ponging(tmp_path, scheme) as url:
        wire = await PipelineConnection.connect(SecretStr(url))
        assert await wire.ask_one(pack("PING")) == b"PONG"
        wire.close()


async def test_a_server_whose_certificate_nobody_vouches_for_is_none(tmp_path: Path) -> None:
    async with ponging(tmp_path, "rediss") as url:
        with pytest.raises(BROKEN):
            await PipelineConnection.connect(SecretStr(url.partition("?")[0]))


# Questions and answers


async def test_replies_come_in_the_order_of_the_commands(redis_url: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(redis_url))
    replies = await wire.ask(b"".join([pack("ECHO", str(number)) for number in range(1_000)]), 1_000)
    assert replies == [str(number).encode() for number in range(1_000)]
    wire.close()


async def test_a_refusal_stands_in_its_place_among_the_replies(redis_url: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(redis_url))
    replies = await wire.ask(pack("PING") + pack("NOSUCH") + pack("PING"), 3)
    assert (replies[0], replies[2]) == (b"PONG", b"PONG")
    assert "unknown command" in str(replies[1])
    with pytest.raises(ResponseError):
        await wire.ask_one(pack("NOSUCH"))
    wire.close()


async def test_after_a_question_that_was_given_up_nothing_more_can_be_asked(redis_url: str) -> None:
    wire = await PipelineConnection.connect(SecretStr(redis_url))
    with pytest.raises(TimeoutError):
        await wire.ask_one(pack("XREAD", "BLOCK", "5000", "STREAMS", "nothing", "$"), 0.05)
    assert not wire.up
    with pytest.raises(RedisConnectionError):
        await wire.ask_one(pack("PING"))


async def test_a_connection_that_is_lost_fails_the_question_at_once(redis_url: str) -> None:
    proxy = Proxy(redis_url)
    await proxy.open()
    wire = await PipelineConnection.connect(SecretStr(proxy.url))
    asking = asyncio.create_task(wire.ask_one(pack("XREAD", "BLOCK", "9000", "STREAMS", "nothing", "$"), 10))
    await asyncio.sleep(0.05)
    await proxy.close()
    with pytest.raises(BROKEN):
        await asyncio.wait_for(asking, 2)


@UNDER_UVLOOP
async def test_over_a_wire_that_is_closed_nothing_is_said_and_nothing_fails(redis_url: str) -> None:
    lost = asyncio.Event()
    wire = await PipelineConnection.connect(SecretStr(redis_url), on_lost=lost.set)
    wire.close()
    await asyncio.wait_for(lost.wait(), 2)
    wire.send(pack("PING", "fence"))
    assert not wire.up


async def test_messages_that_nobody_asked_for_are_pushed(redis_url: str) -> None:
    heard: asyncio.Queue[list[bytes]] = asyncio.Queue()
    listening = await PipelineConnection.connect(SecretStr(redis_url), on_push=heard.put_nowait)
    await listening.ask_one(pack("SUBSCRIBE", "bell"))
    speaking = await PipelineConnection.connect(SecretStr(redis_url))
    await speaking.ask_one(pack("PUBLISH", "bell", "ding"))
    assert await asyncio.wait_for(heard.get(), 2) == [b"message", b"bell", b"ding"]
    listening.close()
    speaking.close()
