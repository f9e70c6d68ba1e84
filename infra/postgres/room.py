"""Whether so many connections fit into a Postgres: it has a number of its own, and each process has a pool."""

from typing import Final

from pydantic import SecretStr

from infra.postgres.connect import connect

_MOST: Final = """
SELECT least(
    current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user),
    (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database())
)
"""
"""Of the server, the role and the database, whichever takes the fewest."""


async def most_connections(url: SecretStr) -> int:
    """How many connections the server takes of us, those of others among them. Raises ``Unavailable``."""
    connection = await connect(url)
    try:
        most: int = await connection.fetchval(_MOST)
    finally:
        await connection.close()
    return most
