"""The table of Weir's own processes, and what they are told by environment."""

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path

from cli.supervisor.credentials import ENCRYPTION_KEYS, PROVIDER_KEY
from infra.settings import environment

WEIR = (sys.executable, "-P", "-m", "cli.main")
"""The ``weir`` command of this very installation, wherever the caller stands."""

MARK = "WEIR_STACK"
"""The variable by which a process of a stack is known."""

WITH_DATABASE = ("DATABASE_DIRECT_URL", "DATABASE_READ_URL", "WEIR_PGBOUNCER")
WITH_REDIS = ("ARQ_REDIS_URL",)
"""What a caller says of servers of their own beside their URLs. It is inherited with them only."""

_NOT_FOR_ALL = (PROVIDER_KEY, ENCRYPTION_KEYS)
"""Secrets that only those are told who work with them."""

_ELSEWHERE = (*WITH_DATABASE, *WITH_REDIS, "WEIR_HEALTH_PORT", "WEIR_PAYMENT_PROVIDER_URL", *_NOT_FOR_ALL)
_SERVERS = ("DATABASE_URL", "DATABASE_DIRECT_URL", "DATABASE_READ_URL", "REDIS_URL", "ARQ_REDIS_URL")
_OWN = ("DATABASE_URL", "REDIS_URL", "WEIR_SMTP_URL")

# On one small machine a burst of mail must not keep anybody waiting for an answer: mail may come a little later.
_MAIL_NICE = 5


class Stage(IntEnum):
    """When a program is started. Stopping goes the other way."""

    BESIDE = 1
    """With the servers."""
    BEFORE = 2
    """Once, to its end, before the rest."""
    MAIN = 3


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process: its name, its command, what it is told beyond the rest, and where it says that it is ready.

    ``nice`` is how far it stands back when processors are short, once it is ready.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready_url: str | None = None
    stage: Stage = Stage.MAIN
    nice: int = 0


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Who listens where. Secrets hide themselves in its repr."""

    directory: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    host: str
    api_port: int
    smtp_port: int
    mailbox_port: int
    provider_port: int
    worker_ports: Mapping[str, int]
    drain_seconds: float
    mark: str = field(repr=False)
    secrets: Mapping[str, str] = field(repr=False)
    inherited: Collection[str] = ()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def mailbox_url(self) -> str:
        return f"http://127.0.0.1:{self.mailbox_port}"

    @property
    def mail_dir(self) -> Path:
        return self.directory / "mail"

    @property
    def provider_url(self) -> str:
        return f"http://127.0.0.1:{self.provider_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a process of this stack: the caller's, less what leads elsewhere, and this."""
        left = {*_ELSEWHERE} - {*self.inherited}
        inherited = {name: value for name, value in environment().items() if name not in left}
        return {
            "WEIR_PUBLIC_URL": self.api_url,
            "WEIR_ENVIRONMENT": "development",
            "WEIR_WEBHOOK_DESTINATIONS": "any",
            **inherited,
            **{name: value for name, value in self.secrets.items() if name not in _NOT_FOR_ALL},
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "WEIR_HOST": self.host,
            "WEIR_PORT": str(self.api_port),
            "WEIR_SMTP_URL": f"smtp://127.0.0.1:{self.smtp_port}",
            "WEIR_DATA_DIR": str(self.directory),
            "WEIR_DRAIN_SECONDS": str(self.drain_seconds),
            MARK: self.mark,
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def told(self) -> dict[str, str]:
        """All that the settings of this stack are, its secrets among it: what other commands need to work on it."""
        whole = {**self.environment, **self.encryption, **self.payments}
        del whole[MARK]  # whoever carries it is ended at the next start
        return {name: value for name, value in whole.items() if name in _SERVERS or name.startswith("WEIR_")}

    @property
    def unused(self) -> list[str]:
        """What the caller has set and the stack has something of its own for."""
        mine, said = self.told, environment()
        return [name for name in (*_OWN, *_ELSEWHERE) if said.get(name, mine.get(name, "")) != mine.get(name, "")]

    @property
    def encryption(self) -> dict[str, str]:
        """What unwraps the server's secrets, told only to who signs tokens or writes links."""
        return {ENCRYPTION_KEYS: self.secrets[ENCRYPTION_KEYS]}

    @property
    def payments(self) -> dict[str, str]:
        """The way to the payment provider, told only to who may ask it for anything."""
        return {"WEIR_PAYMENT_PROVIDER_URL": self.provider_url, PROVIDER_KEY: self.secrets[PROVIDER_KEY]}


def weir_programs(wiring: Wiring) -> tuple[Program, ...]:
    """What ``weir up`` runs: the commands that compose.yaml runs, one container each."""
    return (
        _mailsink(wiring),
        _provider(wiring),
        Program(name="migrate", argv=(*WEIR, "migrate"), stage=Stage.BEFORE),
        Program(name="api", argv=(*WEIR, "serve"), env=wiring.encryption, ready_url=f"{wiring.api_url}/health/ready"),
        *(_worker(wiring, name) for name in wiring.worker_ports),
    )


def _mailsink(wiring: Wiring) -> Program:
    smtp, http = str(wiring.smtp_port), str(wiring.mailbox_port)
    return Program(
        name="mailsink",
        argv=(*WEIR, "mailsink", "--port", smtp, "--http-port", http, "--dir", str(wiring.mail_dir)),
        ready_url=f"{wiring.mailbox_url}/health/ready",
        stage=Stage.BESIDE,
        nice=_MAIL_NICE,
    )


def _provider(wiring: Wiring) -> Program:
    port, directory = str(wiring.provider_port), str(wiring.directory / "provider")
    return Program(
        name="provider",
        argv=(*WEIR, "provider", "--port", port, "--dir", directory),
        env=wiring.payments,
        ready_url=f"{wiring.provider_url}/health/ready",
        stage=Stage.BESIDE,
    )


def _worker(wiring: Wiring, name: str) -> Program:
    kind, port = name.partition("-")[0], wiring.worker_ports[name]
    worker = Program(
        name=name,
        argv=(*WEIR, "worker", kind),
        env={"WEIR_HEALTH_PORT": str(port)},
        ready_url=f"http://127.0.0.1:{port}/health/ready",
    )
    if kind != "tasks":
        return worker
    return replace(worker, env={**worker.env, **wiring.encryption, **wiring.payments}, nice=_MAIL_NICE)


def worker_names(workers: int) -> list[str]:
    """One relay, and so many of each other kind."""
    return ["relay", *(_numbered(kind, n) for kind in ("projections", "tasks") for n in range(workers))]


def _numbered(name: str, index: int) -> str:
    return name if index == 0 else f"{name}-{index + 1}"
