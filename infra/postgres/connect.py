"""New connections to Postgres: which servers a URL names, each with a time of its own, and only one that takes writes.

A server that is read-only or a standby is as good as away: what it knows may be old, so not even a *no* of it counts.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

import asyncpg
from pydantic import SecretStr

from infra.errors import Rejected
from infra.host.several_hosts import Server, servers, split
from infra.postgres.errors import classify
from infra.postgres.unreachable import place, unreachable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pooled: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

Resolve: TypeAlias = Callable[[str, int | None], Awaitable[list[str]]]
"""The addresses of a host, in the order in which they are to be tried."""

CONNECT_SECONDS = 1.0
"""How long a new connection may take at one address before that counts as down."""
WHOLE_SECONDS: Final = 4.0
"""After which no further address is tried: who waits for a connection has waited long enough."""
MOST_ADDRESSES: Final = 8
"""Of one host, so that a name that stands for a thousand machines cannot make anybody wait for ever."""

_THIS_MACHINE: Final = ("127.0.0.1", "::1", "localhost")
_BY_NAME: Final = ("require", "verify-ca", "verify-full")
"""Ways of TLS in which the server is to hear or prove its name: there the name must not give way to its addresses."""

PROBED: Final[Sequence[tuple[int, str, int]]] = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 10_000),
)
"""Options of the socket, as far as the system knows them: a server that vanishes without a word, or a wall between that
forgets the line, is noticed within some ten seconds, also where nothing is asked."""

PROBING: Final[dict[str, str]] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""The same from the other end: a machine that is gone without a word keeps its locks for as long as the server believes
in the line. A local one it does not ask either."""

PINNED: Final[dict[str, str]] = {
    # A backslash is one: digests whose '\x' was read as an escape were other bytes, and no key was taken any more.
    "standard_conforming_strings": "on",
    # What is counted behind a lock is what was committed before it was had, and nobody is sent to try again.
    "default_transaction_isolation": "read committed",
    # NULL in an array that is sent as text is no value, and not the word.
    "array_nulls": "on",
    # A day that is added to a time has 24 hours; in other zones some have 23.
    "TimeZone": "UTC",
    # A search finds all there is, and not about so many of them.
    "gin_fuzzy_search_limit": "0",
}
"""What our statements rely on, told to the server at the start of each session: what a role, a database or another
application there has set counts less. Not among them: what says how fast, how long or how safely, and ``search_path``,
which says where the tables lie: these are the operator's, and without its tables nothing works at all; what only
superusers may set; and what no statement of ours asks."""
TRACKED: Final = ("standard_conforming_strings", "TimeZone")
"""Those that PgBouncer keeps for each of its clients. The others it refuses: there the role has them."""

TIMELINE: Final = (
    "SELECT (pg_control_system()).system_identifier || ':' || CASE WHEN pg_is_in_recovery() THEN '' "
    "ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
)


class ProbedConnection(asyncpg.Connection):
    """The driver's connection, over a line that is probed. Here the driver shows its transport, and nowhere else."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *more: Any) -> None:
        super().__init__(protocol, transport, *more)
        probe(transport.get_extra_info("socket"))


def probe(line: Any) -> None:
    """Has the system ask the other end of a socket whether it is there. A local one needs no such question."""
    if line is not None and line.family != socket.AF_UNIX:
        for level, name, value in PROBED:
            if (option := getattr(socket, name, None)) is not None:
                line.setsockopt(level, option, value)


def _jsonb_in(data: bytes) -> bytes:
    return b"\x01" + data


def _jsonb_out(data: bytes) -> bytes:
    return bytes(data[1:])


async def prepare(connection: Any) -> None:
    """Gives a new connection its codecs: ``json`` and ``jsonb`` travel as the bytes of their text."""
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=_jsonb_in, decoder=_jsonb_out, format="binary"
    )
    await connection.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


async def timeline(connection: Any) -> str:
    """The cluster and its timeline: the server begins another with each promotion and each recovery to a point in time.

    Empty where it does not say, as some that are managed by others.
    """
    try:
        return str(await connection.fetchval(TIMELINE))
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedFunctionError):
        return ""


def options(url: SecretStr, *, pgbouncer: bool = False, standby: bool = False, prepared: bool = True) -> dict[str, Any]:
    """The driver's arguments for a URL. A pooler in transaction mode gets no prepared statements, nor does who changes
    the tables that these would be about (``prepared``).

    Nor is it asked what its server is: what it says of that when one connects is about another connection of its own.
    A ``standby`` will do for who only reads, and knows how to tell what may be old.
    """
    dsn = url.get_secret_value().replace("postgresql+asyncpg://", "postgresql://", 1)
    mode: dict[str, Any] = (
        {"server_settings": {name: PINNED[name] for name in TRACKED}}
        if pgbouncer
        else {"target_session_attrs": "any" if standby else "read-write", "server_settings": PROBING | PINNED}
    )
    if pgbouncer or not prepared:
        mode["statement_cache_size"] = 0
    line = {"connection_class": ProbedConnection, "timeout": CONNECT_SECONDS}
    return {"dsn": dsn, **line, **mode, **_encryption(dsn)}


def _encryption(dsn: str) -> dict[str, Any]:
    """Servers on this machine are not asked for TLS unless somebody wants it.

    The question costs each connection a round trip, and a driver that is cancelled while it waits for the answer leaves
    an exception behind that nobody can catch.
    """
    here = all(server.host in _THIS_MACHINE for server in servers(dsn))
    return {"ssl": False} if _ssl_mode(dsn) is None and here else {}


def _ssl_mode(dsn: str) -> str | None:
    query = parse_qs(split(dsn).query)
    return query.get("sslmode", [os.environ.get("PGSSLMODE")])[-1]


def _of_one_host(dsn: str) -> str:
    """For the driver, which is told each server beside it, and would have Python look at a list of them."""
    parts = split(dsn)
    credentials, at, hosts = parts.netloc.rpartition("@")
    first, comma, _ = hosts.partition(",")
    return parts._replace(netloc=f"{credentials}{at}{first}").geturl() if comma else dsn


async def _resolved(host: str, port: int | None) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Connector:
    """Opens connections to whichever server of a URL takes them, beginning with the one that did last time.

    ``on_opened`` is shown each before anybody may use it.
    """

    def __init__(
        self,
        url: SecretStr,
        *,
        pgbouncer: bool = False,
        standby: bool = False,
        prepared: bool = True,
        resolve: Resolve = _resolved,
    ) -> None:
        self._resolve = resolve
        self._options = options(url, pgbouncer=pgbouncer, standby=standby, prepared=prepared)
        self._servers = servers(self._options["dsn"])
        self._by_name = _ssl_mode(self._options["dsn"]) in _BY_NAME
        self.on_opened: Callable[[Connection], Awaitable[None]] | None = None
        self._last_named: Server | None = None
        self._last: Server | None = None
        self._failed: set[Server] = set()

    async def __call__(self, dsn: str | None = None, **more: Any) -> Connection:
        """A new connection, prepared, as the driver's pool asks for it. ``more`` are arguments of the driver.

        Raises :class:`~infra.errors.Unavailable`, with what each server failed with, if all failed in ways that
        :func:`~infra.postgres.errors.classify` knows, and at once what is wrong with the arguments. Where the time is
        over before all were tried, the next attempt begins with the others.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + WHOLE_SECONDS
        more["dsn"] = _of_one_host(dsn or self._options["dsn"])
        failures: list[tuple[str, Exception]] = []
        async for named, server in self._candidates(failures):
            if loop.time() >= until:
                raise unreachable(failures)
            try:
                connection = await self._open(server, more)
            except asyncpg.ClientConfigurationError as error:
                told = str(error).partition("\n")[0]
                raise Rejected(f"the URL of Postgres is of no use: {told}") from None
            except Exception as error:
                if not is_failure(error):
                    raise
                failures.append((place(*server), error))
                self._failed.add(server)
            else:
                self._last_named, self._last = named, server
                self._failed.clear()
                return connection
        self._failed.clear()
        raise unreachable(failures)

    async def _open(self, server: Server, more: dict[str, Any]) -> Connection:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                settings = {**self._options["server_settings"], **(more.get("server_settings") or {})}
                bounded = {**more, "server_settings": settings}
                connection = await asyncpg.connect(**{**self._options, **server.arguments(), **bounded})
                await prepare(connection)
                if self.on_opened is not None:
                    await self.on_opened(connection)
        except BaseException:
            if connection is not None:
                connection.terminate()
            raise
        return connection

    async def _candidates(self, failures: list[tuple[str, Exception]]) -> AsyncIterator[tuple[Server, Server]]:
        """Each address that there is, once, behind the server that it is of; a name that has none is a failure.

        What a name stands for is asked anew each time: it may have moved.
        """
        tried = set()
        failed, later = frozenset(self._failed), list[tuple[Server, Server]]()
        for server in sorted(self._servers, key=lambda server: server != self._last_named):
            for each in sorted(await self._addresses(server, failures), key=lambda address: address != self._last):
                if each not in tried:
                    tried.add(each)
                    if each in failed:
                        later.append((server, each))
                    else:
                        yield server, each
        for candidate in later:
            yield candidate

    async def _addresses(self, server: Server, failures: list[tuple[str, Exception]]) -> Sequence[Server]:
        """A name's addresses, where it has several: the first may hang while the second would answer."""
        if server.host is None or self._by_name or _is_address(server.host):
            return [server]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await self._resolve(server.host, server.port)
        except OSError as error:
            failures.append((place(*server), error))
            return []
        hosts = list(dict.fromkeys(found))[:MOST_ADDRESSES]
        return [server] if len(hosts) == 1 else [server._replace(host=host) for host in hosts]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return host.startswith("/")
    return True


def is_failure(error: Exception) -> bool:
    """Whether it says something of a server that one connects to.

    Then the driver's own confusion is about a line that broke in the middle of the handshake.
    """
    return classify(error) is not None or isinstance(error, asyncpg.InternalClientError)


async def connect(url: SecretStr, *, pgbouncer: bool = False, prepared: bool = True) -> Connection:
    """A connection of one's own. Raises :class:`~infra.errors.Unavailable` when no server takes it."""
    return await Connector(url, pgbouncer=pgbouncer, prepared=prepared)()
