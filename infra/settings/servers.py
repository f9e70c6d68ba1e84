"""The settings that come first: which environment this is, and where its servers are."""

from typing import Annotated, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.settings.urls import ArqUrl, PostgresUrl, RedisUrl
from infra.settings.values import Unit


def _url(name: str) -> AliasChoices:
    return AliasChoices(name.lower(), name)


class ServerSettings(BaseSettings):
    """What every process is told of its servers."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_",
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    # First, since what is weak depends on it.
    environment: Literal["production", "development"] = Field(
        default="production",
        description="In `production` weak and published secrets are refused, and `weir serve` insists on the secret of "
        "the payment webhook. `weir up` and `weir demo` say `development`.",
    )

    database_url: PostgresUrl = Field(
        default=SecretStr("postgresql://localhost/weir"),
        validation_alias=_url("DATABASE_URL"),
        description="Where Postgres is. Of several hosts the one that takes writes is used.",
    )
    database_direct_url: PostgresUrl | None = Field(
        default=None,
        validation_alias=_url("DATABASE_DIRECT_URL"),
        description="The same server without a pooler between, for migrations and rebuilds. Unset: `DATABASE_URL`.",
    )
    database_read_url: PostgresUrl | None = Field(
        default=None,
        validation_alias=_url("DATABASE_READ_URL"),
        description="A streaming replica: lists are read from it while it is up to date. Unset: `DATABASE_URL`.",
    )
    redis_url: RedisUrl = Field(
        default=SecretStr("redis://localhost:6379/0"),
        validation_alias=_url("REDIS_URL"),
        description="Where Redis or Valkey is, which carries streams and cache. It may be lost at any time.",
    )
    arq_redis_url: ArqUrl = Field(
        default=None,
        validate_default=True,
        validation_alias=_url("ARQ_REDIS_URL"),
        description="Another Redis for arq's jobs; needed where `REDIS_URL` is a cluster. Unset: `REDIS_URL`.",
    )
    pgbouncer: bool = Field(
        default=False,
        description="Say so if `DATABASE_URL` goes through PgBouncer in transaction mode: no prepared statements then.",
    )
    pool_size: Annotated[int, Unit("connections")] = Field(
        default=8, ge=1, le=200, description="How many connections to Postgres one process may have in its pool."
    )
    shards: Annotated[int, Unit("shards")] = Field(
        default=8,
        ge=1,
        le=64,
        description="Into how many slices a new log is divided, and so how many workers of a kind can share it. Counts "
        "only for `weir migrate` on an empty database; later `weir shards` changes it.",
    )

    @property
    def jobs_url(self) -> SecretStr:
        """The Redis that arq uses: its own URL, or the shared one."""
        return self.arq_redis_url or self.redis_url

    @property
    def direct_url(self) -> SecretStr:
        """Postgres without a pooler between, for migrations and long work."""
        return self.database_direct_url or self.database_url
