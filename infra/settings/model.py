"""The settings of a process: each with its default, its bounds, and what it does, in the words of whoever sets it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from infra.locales import FALLBACK
from infra.rate_limits.gcra import Rate
from infra.settings.servers import ServerSettings
from infra.settings.sources import outside
from infra.settings.urls import SmtpUrl
from infra.settings.values import (
    AdminPassword,
    Email,
    EncryptionKeys,
    Endpoint,
    Form,
    Hosts,
    MailLanguage,
    Misgiven,
    Networks,
    Origins,
    Sender,
    SentryDsn,
    SharedKey,
    StorageUrl,
    Unit,
    WebhookSecret,
    Written,
)

DRAIN_SECONDS = 20.0
"""Longer than a conversation with a mail server."""


class Settings(ServerSettings):
    """What a process needs to know. Frozen; secrets hide themselves in reprs, logs and errors."""

    append_timeout: Annotated[float, Unit("seconds")] = Field(
        default=1.5, gt=0, le=30, description="After this a command that cannot be stored is answered with 503."
    )
    append_batch: Annotated[int, Unit("commands")] = Field(
        default=256, ge=1, le=2000, description="How many commands may share one commit."
    )

    host: Annotated[str, Form("an address or a host's name")] = Field(
        default="127.0.0.1", description="The address that the process listens on; `0.0.0.0` for all of the machine."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="The API's port; 0 takes a free one.")
    serve_workers: Annotated[int, Unit("processes")] = Field(
        default=1, ge=1, le=64, description="How many processes `weir serve` has on its port, each with its own pool."
    )
    serve_max_requests: Annotated[int, Unit("requests")] = Field(
        default=0, ge=0, description="After so many requests one of them gives way to a new one; 0: after none."
    )
    health_port: int = Field(
        default=0, ge=0, le=65535, description="A worker's port for health and metrics; 0 takes a free one."
    )
    public_url: Endpoint = Field(
        default="http://localhost:8000", description="Where customers reach the shop: links in mails begin with it."
    )
    front_end_url: Endpoint | None = Field(
        default=None,
        description="Whose pages `/verify-email` and `/reset-password` the links in mails open; unset, the API's own.",
    )
    allowed_hosts: Hosts = Field(
        default=("*",), description="Requests for any other host are refused. `*` takes all of them."
    )
    cors_origins: Origins = Field(
        default=(), description="The web sites whose scripts may call the API from a browser."
    )
    trusted_proxies: Networks = Field(
        default=(), description="The proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed."
    )
    drain_seconds: float = Field(
        default=DRAIN_SECONDS,
        ge=0,
        le=300,
        description="How long a process may finish what it has begun after SIGTERM. Whoever sends that should wait "
        "longer before SIGKILL.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Log lines below this are left out."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="A JSON object in each line, or text for people; `auto`: text at a terminal."
    )

    sentry_dsn: SentryDsn | None = Field(default=None, description="Where errors are reported. Unset: nowhere.")

    encryption_keys: EncryptionKeys = Field(
        default=(),
        description="What the server's own secrets in Postgres are encrypted under. The first encrypts, all decrypt. "
        "`weir serve`, `weir worker tasks` and `weir keys` need it.",
    )
    admin_email: Email | None = Field(
        default=None, description="The first admin, whom `weir serve` registers if nobody has the address."
    )
    admin_password: AdminPassword | None = Field(
        default=None, description="The password that this admin begins with; later changes of it here do nothing."
    )
    access_token_seconds: int = Field(default=900, ge=1, le=900, description="How long an access token is good.")
    token_issuer: Annotated[str, Form("text")] = Field(
        default="weir", description="What access tokens name as their issuer (`iss`)."
    )
    password_reset_minutes: int = Field(
        default=10, ge=1, le=60, description="How long a mailed link to a new password is good."
    )

    payment_webhook_secret: WebhookSecret | None = Field(
        default=None,
        description="What the payment provider signs its webhooks with (Standard Webhooks). Without it none is taken.",
    )
    payment_provider_url: Endpoint | None = Field(
        default=None, description="Where refunds are asked for. Without it they stay owed."
    )
    payment_provider_key: SharedKey | None = Field(
        default=None, description="What the payment provider knows us by: it is sent as a bearer token."
    )
    order_payment_minutes: int = Field(
        default=30, ge=1, le=60 * 24 * 30, description="An order that is not paid by then is cancelled."
    )
    unpaid_orders_most: Annotated[int, Unit("orders")] = Field(
        default=20, ge=0, description="How many unpaid orders an account may have at once; 0 bounds nothing."
    )
    unpaid_pieces_most: Annotated[int, Unit("pieces")] = Field(
        default=1000, ge=0, description="How many pieces may be in the unpaid orders of an account; 0 bounds nothing."
    )
    rooms_most: Annotated[int, Unit("rooms")] = Field(
        default=100, ge=0, description="How many rooms an account may be in, and asked into; 0 bounds nothing."
    )
    room_members_most: Annotated[int, Unit("accounts")] = Field(
        default=1000, ge=1, le=5000, description="How many accounts may be in a room, or be asked in."
    )
    webhook_destinations: Literal["public", "any"] = Field(
        default="public",
        description="Where webhooks may lead: to public addresses by HTTPS, or anywhere, one's own network included.",
    )

    smtp_url: SmtpUrl = Field(
        default=SecretStr("smtp://localhost:1025"),
        description="The mail server: `smtp://` without TLS, `starttls://` with TLS or not at all, `smtps://` with TLS "
        "from the first byte.",
    )
    mail_from: Sender = Field(default="Weir <shop@weir.example>", description="Whom the shop's mails come from.")
    mail_language: MailLanguage = Field(
        default=FALLBACK, description="The language of mails to accounts that asked for none that there is."
    )
    mail_days: float = Field(
        default=5, gt=0, le=30, description="How long a mail is tried that the mail server does not take."
    )
    mail_kept_days: float = Field(
        default=90,
        ge=1,
        le=3650,
        description="How long the ledger remembers a mail that was sent or refused. What is owed it never forgets.",
    )
    mail_max_attempts: Annotated[int, Unit("attempts")] = Field(
        default=12, ge=1, le=100, description="A mail whose sender died so often in a row is given up."
    )

    data_dir: Path = Field(default=Path(".weir"), description="Where a process keeps files, if it keeps any.")
    storage_url: StorageUrl | None = Field(
        default=None, description="Where pictures and uploads are kept. Unset: the folder `storage` in `WEIR_DATA_DIR`."
    )
    storage_endpoint: Endpoint | None = Field(
        default=None, description="The address of an S3-compatible service that is not Amazon's."
    )
    storage_access_key_id: SecretStr | None = Field(
        default=None, description="The bucket's key. Unset: as AWS tools find it, in `AWS_*` or by the machine's role."
    )
    storage_secret_access_key: SecretStr | None = Field(default=None, description="The secret that goes with it.")

    rate_limits: Literal["on", "off"] = Field(default="on", description="Whether requests are counted and refused.")
    limit_login: Written = Field(default=Rate(10, 20), description="Sign-ins from one source.")
    limit_login_pair: Written = Field(default=Rate(5, 450), description="Failed sign-ins to one name from one source.")
    limit_login_name: Written = Field(
        default=Rate(50, 3600), description="Failed sign-ins to one name from all sources that are new to it."
    )
    limit_password: Written = Field(default=Rate(5, 450), description="Wrong passwords of somebody who is signed in.")
    limit_register: Written = Field(default=Rate(20, 3600), description="Registrations from one source.")
    limit_mail: Written = Field(default=Rate(10, 600), description="Requests from one source that send mail.")
    limit_mail_address: Written = Field(
        default=Rate(3, 900), description="Requests that send mail to one address, from anywhere."
    )
    limit_token: Written = Field(
        default=Rate(300, 60), description="Refreshed tokens, and links from mails, from one source."
    )
    limit_write: Written = Field(default=Rate(600, 60), description="Commands of one account, API key or source.")
    limit_upload: Written = Field(default=Rate(60, 60), description="Files from one account or API key.")
    limit_read: Written = Field(default=Rate(1200, 60), description="Queries of one account, API key or source.")
    limit_browse: Written = Field(
        default=Rate(1200, 60), description="Lists that anybody may see, asked for by one source."
    )
    limit_public: Written = Field(default=Rate(6000, 60), description="Reads from memory by one source.")
    limit_hook: Written = Field(default=Rate(6000, 60), description="Webhooks from one source.")

    event_streams_most: Annotated[int, Unit("streams")] = Field(
        default=1_000, ge=1, description="How many event streams (SSE) each API process keeps open at once."
    )
    event_streams_each: Annotated[int, Unit("streams")] = Field(
        default=10, ge=1, description="And how many of them for one account."
    )
    cache_seconds: int = Field(default=300, ge=1, description="How long a document stays in Redis.")
    l1_entries: Annotated[int, Unit("documents")] = Field(
        default=20_000, ge=0, description="How many documents of a read model each API process keeps in memory."
    )
    l1_bytes: int = Field(default=32 * 1024 * 1024, ge=0, description="And how many bytes of them, at the most.")
    lease_seconds: float = Field(
        default=5.0, ge=1, le=60, description="A worker that is silent for so long loses its shards to others."
    )
    stream_length: Annotated[int, Unit("events")] = Field(
        default=20_000, ge=100, description="How many events each Redis stream keeps."
    )
    stream_bytes: int = Field(
        default=128 * 1024 * 1024,
        ge=1024 * 1024,
        description="How large all streams together may become; never more than half of Redis' `maxmemory`.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - made anew, beside the file that it names
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What code gives, then the environment, then ``.env``."""
        return init_settings, *outside(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        if isinstance(value, Misgiven):
            raise ValueError(value.why)
        return value

    @property
    def pages_url(self) -> str:
        """Where the pages are that links in mails open."""
        return self.front_end_url or self.public_url
