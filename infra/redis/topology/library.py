"""The client library's own clients, for what is asked now and then: of one server, by Sentinel, of a cluster."""

from typing import Any, Final, TypeAlias

from pydantic import SecretStr
from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from infra.redis.client import ANSWER_SECONDS, CONNECT_SECONDS
from infra.redis.topology.holders import locate
from infra.redis.topology.url import Kind, Place, Way, kind_of, place_of, way_of

Client: TypeAlias = "Redis | RedisCluster"

_WAITS: Final[dict[str, Any]] = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS}


def open_redis(url: SecretStr) -> Client:
    """A client with its own pool, connected on first use; bytes in both directions. The caller closes it."""
    retry = Retry(NoBackoff(), 1)
    match kind_of(url):
        case Kind.ONE:
            client: Client = Redis.from_url(url.get_secret_value(), retry=retry, health_check_interval=0, **_WAITS)
        case Kind.SENTINEL:
            client = Redis.from_pool(pool_of_master(url, retry=retry))
        case Kind.CLUSTER:
            way = way_of(url)
            nodes = [ClusterNode(*place) for place in way.places]
            client = RedisCluster(startup_nodes=nodes, retry=retry, **_options(way))
    return client


class _Sentinels:
    """Who is the master, for the library. It would keep a client for each Sentinel, and never close them."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url

    async def discover_master(self, _name: str) -> Place:
        """Raises one of ``BROKEN``."""
        return place_of((await locate(self._url)).of(""))


def pool_of_master(url: SecretStr, **options: Any) -> ConnectionPool:
    """Connections to whoever Sentinel calls the master when they are made; those to a former one are dropped."""
    way = way_of(url)
    pool: ConnectionPool = SentinelConnectionPool(way.master, _Sentinels(url), **{**_options(way), **options})  # type: ignore[no-untyped-call]
    return pool


def _options(way: Way) -> dict[str, Any]:
    """What the URL says beside the address, as the library takes it."""
    told = ConnectionPool.from_url(way.server(*way.places[0]).get_secret_value()).connection_kwargs
    tls = {"ssl": True} if way.scheme == "rediss" else {}
    return {name: value for name, value in told.items() if name not in ("host", "port")} | tls | _WAITS
