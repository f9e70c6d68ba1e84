"""The manifest of a backup: which log it holds, up to where, how much of everything, and what a restore needs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from infra.eventsourcing.event_log import Session
from infra.host.secret_file import write_private
from infra.postgres.tables import METADATA

MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
SUMS: Final = "files.sha256"
FILES: Final = "files"

_WRAPPED_BY: Final = """
SELECT DISTINCT split_part(wrapped, '.', 2) FROM (
    SELECT wrapped FROM server_secret UNION ALL SELECT wrapped FROM signing_keys) s
WHERE wrapped IS NOT NULL ORDER BY 1
"""
_READ_MODELS: Final = """
SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND starts_with(c.relname, 'rm_')
    AND c.relnamespace = current_schema()::regnamespace ORDER BY 1
"""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogAt(_Part):
    """Which log, and which event was its last: position and time together name it."""

    log_id: UUID
    history: UUID
    shards: int
    position: int
    recorded_at: datetime | None


class Dump(_Part):
    """The database, as pg_dump of a major version has written it from a server of another."""

    bytes: int
    sha256: str
    pg_dump: int
    server: int


class FilesKept(_Part):
    """The files of the storage. ``copied``: beside the dump, each with its digest in ``files.sha256``, whose own is
    ``sha256``; else they are where they were. ``missing`` are those that a row leads to, and were not there.
    """

    copied: bool
    count: int
    bytes: int
    sha256: str | None
    missing: Sequence[str]


class Manifest(_Part):
    """It is written last: a folder that has one is whole."""

    format: Literal[1] = 1
    weir: str
    schema_version: str
    as_of: datetime
    finished_at: datetime
    log: LogAt
    rows: Mapping[str, int]
    encryption_keys: Sequence[str]
    dump: Dump
    files: FilesKept

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """That of a backup. Raises ``ValueError`` for what is none, and ``OSError``."""
        return cls.model_validate_json((folder / MANIFEST).read_bytes())

    def write(self, folder: Path) -> None:
        write_private(folder / MANIFEST, self.model_dump_json(indent=2) + "\n")


async def rows_of(session: Session) -> dict[str, int]:
    """How many rows each table has, those of read models among them."""
    tables = [*METADATA.tables, *(row[0] for row in await session.fetch(_READ_MODELS))]
    return {table: await session.fetchval(f'SELECT count(*) FROM "{table}"') for table in tables}  # noqa: S608


async def encryption_keys_of(session: Session) -> list[str]:
    """The ids of the keys without which the server's secrets cannot be read."""
    return [row[0] for row in await session.fetch(_WRAPPED_BY)]


def sha256_of(path: Path) -> str:
    """The digest of a file, in hex."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def described(value: Any) -> str:
    """Bytes for people."""
    size, unit = float(value), 0
    while size >= 1000 and unit < 4:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"
