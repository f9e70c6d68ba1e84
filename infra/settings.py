"""All configuration, read once from the environment. The server URLs carry no prefix; everything else is ``WEIR_*``."""

import re
from base64 import b64decode
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from infra.locales import FALLBACK, shipped
from infra.rate_limits.gcra import Rate


def _url(name: str) -> AliasChoices:
    return AliasChoices(name.lower(), name)


def _listed(value: Any) -> Any:
    """A list in the environment is written with commas."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _webhook_secret(value: SecretStr | None) -> SecretStr | None:
    """Standard Webhooks 1.0: a key that could be guessed would let anybody say what is paid."""
    if value is not None:
        key = re.fullmatch(r"whsec_([A-Za-z0-9+/]+={0,2})", value.get_secret_value())
        if key is None or len(key[1]) % 4 or not 24 <= len(b64decode(key[1])) <= 64:
            raise ValueError("must be whsec_ and the base64 of 24 to 64 bytes")
    return value


def _encryption_key(value: SecretStr) -> SecretStr:
    """Random bytes and no password: nothing slows down whoever guesses at it."""
    key = re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", value.get_secret_value())
    if key is None or len(key[0]) % 4 or not 32 <= len(b64decode(key[0])) <= 64:
        raise ValueError("must be the base64 of 32 to 64 random bytes: openssl rand -base64 32")
    return value


HOST = r"^(\*|(\*\.)?([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?)$"
ENDPOINT = r"^https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$"
ORIGIN = r"^https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(:[0-9]{1,5})?$"

Host = Annotated[str, Field(pattern=HOST)]
Endpoint = Annotated[str, Field(pattern=ENDPOINT)]
Origin = Annotated[str, Field(pattern=ORIGIN)]
Network = IPv4Network | IPv6Network
Written = Annotated[Rate, NoDecode]
EncryptionKey = Annotated[SecretStr, AfterValidator(_encryption_key)]

DRAIN_SECONDS = 20.0
"""Longer than a conversation with a mail server."""


class Settings(BaseSettings):
    """What a process needs to know. Frozen; secrets hide themselves in reprs and logs."""

    model_config = SettingsConfigDict(
        env_prefix="WEIR_", frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    environment: Literal["production", "development"] = Field(
        default="production", description="`weir up` and `weir demo` say development; `weir seed` asks for it"
    )

    database_url: SecretStr = Field(
        default=SecretStr("postgresql://localhost/weir"), validation_alias=_url("DATABASE_URL")
    )
    database_direct_url: SecretStr | None = Field(default=None, validation_alias=_url("DATABASE_DIRECT_URL"))
    redis_url: SecretStr = Field(default=SecretStr("redis://localhost:6379/0"), validation_alias=_url("REDIS_URL"))
    arq_redis_url: SecretStr | None = Field(default=None, validation_alias=_url("ARQ_REDIS_URL"))

    pgbouncer: bool = Field(default=False, description="DATABASE_URL goes through PgBouncer in transaction mode")
    pool_size: int = Field(default=8, ge=1, le=200, description="pooled Postgres connections per process")
    shards: int = Field(default=8, ge=1, le=64, description="slices of the log; fixed when the log is created")

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    health_port: int = Field(
        default=0, ge=0, le=65535, description="a worker's health and metrics port; 0 picks a free one"
    )
    public_url: str = "http://localhost:8000"
    front_end_url: Endpoint | None = Field(
        default=None,
        description="whose pages /verify-email and /reset-password the links in mails open; unset, the API's own",
    )
    allowed_hosts: Annotated[tuple[Host, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=("*",), description="Host headers that are served, in lower case: shop.example, *.shop.example, or *"
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(), description="whose scripts may call: https://shop.example, exactly as browsers write it"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(), description="whose X-Forwarded-For and X-Forwarded-Proto are believed: 10.0.0.0/8, ::1"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    rate_limits: Literal["on", "off"] = "on"
    limit_login: Written = Field(default=Rate(10, 20), description="sign-ins from one source")
    limit_login_pair: Written = Field(default=Rate(5, 450), description="failed sign-ins to one name from one source")
    limit_login_name: Written = Field(
        default=Rate(50, 3600), description="and from all sources that are new to the name"
    )
    limit_password: Written = Field(default=Rate(5, 450), description="wrong passwords of somebody who is signed in")
    limit_register: Written = Field(default=Rate(20, 3600), description="registrations from one source")
    limit_mail: Written = Field(default=Rate(10, 600), description="requests from one source that send mail")
    limit_mail_address: Written = Field(default=Rate(3, 900), description="such requests for one address")
    limit_token: Written = Field(default=Rate(300, 60), description="refreshes and links from mails, from one source")
    limit_write: Written = Field(default=Rate(600, 60), description="commands of one account, API key or source")
    limit_upload: Written = Field(default=Rate(60, 60), description="files from one account or API key")
    limit_read: Written = Field(default=Rate(1200, 60), description="queries of one account, API key or source")
    limit_browse: Written = Field(default=Rate(1200, 60), description="lists that anybody may see, by one source")
    limit_public: Written = Field(default=Rate(6000, 60), description="reads from memory by one source")
    limit_hook: Written = Field(default=Rate(6000, 60), description="webhooks from one source")

    admin_email: str | None = None
    admin_password: SecretStr | None = None
    encryption_keys: Annotated[tuple[EncryptionKey, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(),
        description="base64 of 32 random bytes each; the server's secrets are wrapped under the first, all unwrap them",
    )
    access_token_seconds: int = Field(default=900, ge=1, le=900)
    token_issuer: str = "weir"  # noqa: S105
    payment_webhook_secret: Annotated[SecretStr | None, AfterValidator(_webhook_secret)] = Field(
        default=None, description="whsec_<base64>, of 24 to 64 bytes"
    )
    payment_provider_url: Endpoint | None = Field(
        default=None, description="where refunds are asked for: https://api.provider.example; unset, they stay owed"
    )
    payment_provider_key: SecretStr | None = Field(default=None, description="sent to it as a bearer token")

    smtp_url: SecretStr = Field(
        default=SecretStr("smtp://localhost:1025"), description="smtp[s]://[user:password@]host:port"
    )
    mail_from: str = "Weir <shop@weir.example>"
    mail_language: Annotated[str, AfterValidator(shipped)] = Field(
        default=FALLBACK, description="of mails to accounts that asked for none that there is: en, de"
    )
    mail_days: float = Field(default=5, gt=0, le=30, description="a mail that no server takes is tried for so long")
    mail_max_attempts: int = Field(
        default=12, ge=1, le=100, description="a mail whose sender died so often in a row is given up"
    )

    password_reset_minutes: int = Field(default=10, ge=1, le=60, description="a link to a new password is good so long")
    order_payment_minutes: int = Field(default=30, ge=1, le=60 * 24 * 30)
    unpaid_orders_most: int = Field(
        default=20, ge=0, description="unpaid orders of one account at once; 0 bounds nothing"
    )
    unpaid_pieces_most: int = Field(
        default=1000, ge=0, description="pieces in the unpaid orders of one account; 0 bounds nothing"
    )
    append_timeout: float = Field(default=1.5, gt=0, le=30, description="seconds until an append is given up")
    append_batch: int = Field(default=256, ge=1, le=2000, description="most requests that share one commit")
    cache_seconds: int = Field(default=300, ge=1, description="a cached document's life in Redis")
    l1_entries: int = Field(default=20_000, ge=0, description="documents of a read model kept in each API process")
    l1_bytes: int = Field(default=32 * 1024 * 1024, ge=0, description="and of how many bytes, at the most")
    lease_seconds: float = Field(default=5.0, ge=1, le=60, description="a silent worker loses its shards after this")
    stream_length: int = Field(default=20_000, ge=100, description="entries kept per Redis stream")
    stream_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024 * 1024,
        description="and of all streams together; half of Redis' maxmemory, if that is less",
    )
    drain_seconds: float = Field(
        default=DRAIN_SECONDS,
        ge=0,
        le=300,
        description="to finish what has begun; longer than a conversation with a mail server",
    )
    data_dir: Path = Path(".weir")
    storage_url: str | None = Field(
        default=None, description="where files are kept: file:///folder or s3://bucket/prefix; else with the data"
    )
    storage_endpoint: str | None = Field(default=None, description="of an S3-compatible service that is not Amazon's")
    storage_access_key_id: SecretStr | None = Field(default=None, description="else as the AWS tools find it: AWS_*")
    storage_secret_access_key: SecretStr | None = None

    @property
    def pages_url(self) -> str:
        """Where the pages are that links in mails open."""
        return self.front_end_url or self.public_url

    @property
    def jobs_url(self) -> SecretStr:
        """The Redis that arq uses: its own URL, or the shared one."""
        return self.arq_redis_url or self.redis_url

    @property
    def direct_url(self) -> SecretStr:
        """Postgres without a pooler between, for migrations and long work."""
        return self.database_direct_url or self.database_url
