"""Who the admin of a stack is, and where the password stands that lets in: asked of the stored hash, not assumed."""

from pydantic import SecretStr

from cli.supervisor import Wiring
from cli.supervisor.credentials import ADMIN_EMAIL, ADMIN_PASSWORD, kept, secrets_file
from domain.accounts import email_key
from infra.errors import AWAY, UnknownSchema
from infra.identity import credentials
from infra.identity.passwords import Passwords
from infra.postgres import schema_version
from infra.postgres.pool import Database
from infra.postgres.pool_config import PoolConfig


async def admin_of(wiring: Wiring) -> str:
    """The admin's address and where the password is. An account is left as it is when it is there already."""
    email, file = wiring.secrets[ADMIN_EMAIL], secrets_file(wiring.directory)
    places = {
        f"password in {file}": kept(wiring.directory).get(ADMIN_PASSWORD, ""),
        f"password as {ADMIN_PASSWORD} says": wiring.secrets[ADMIN_PASSWORD],
    }
    database = Database(PoolConfig(url=SecretStr(wiring.database_url), size=1))
    try:
        await schema_version.check(database)
        known = await credentials.find(database, "email", email_key(email))
        for place, password in places.items():
            if known and await Passwords().verify_password(known.password_hash, password):
                return f"{email}, {place}"
    except (*AWAY, UnknownSchema):
        return email
    finally:
        await database.close()
    return f"{email}, whose password is neither in {file} nor in {ADMIN_PASSWORD}: the account was there, or changed it"
