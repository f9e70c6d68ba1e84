"""Routes of one's own account: names and profile, the password, where they are signed in, and their leaving."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends
from pydantic import Field

from api.commands.authority import acting_as
from api.commands.dependencies import PasswordsDep, SessionsDep
from api.commands.dispatcher import CommandDispatcher, recall
from api.commands.password_change import NewPassword, change_password
from api.commands.proof import Proving
from api.dependencies import DatabaseDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import Done, Receipt
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.schemas import Body, Changes, Secret
from api.security import in_session
from domain.accounts import (
    ACCOUNTS,
    LONGEST_BIO,
    LONGEST_FULL_NAME,
    LONGEST_USERNAME,
    ChangePassword,
    ChangeProfile,
    ChangeUsername,
    EndedBy,
    EndSession,
    EraseAccount,
    PasswordChangedBy,
)
from domain.kernel.refusals import DoesNotExist, Refusal
from domain.kernel.unit_of_work import UnitOfWork
from infra.errors import NotFound
from infra.identity import account_erasure
from infra.identity.passwords import LONGEST, SHORTEST
from infra.schemas.text import trimmed

routes = router(tags=["accounts"])

Username = Annotated[str, trimmed(LONGEST_USERNAME)]
FullName = Annotated[str, trimmed(LONGEST_FULL_NAME)]
Bio = Annotated[str, Field(max_length=LONGEST_BIO)]
Known = Annotated[Secret, Field(max_length=LONGEST)]
Wanted = Annotated[Secret, Field(min_length=SHORTEST, max_length=LONGEST)]

_ME, _LEAVING = in_session(), in_session(ended=recall)
Me = Annotated[Principal, Depends(_ME)]
Mine = Annotated[CommandDispatcher, Depends(acting_as(_ME))]
Leaving = Annotated[Principal, Depends(_LEAVING)]
Last = Annotated[CommandDispatcher, Depends(acting_as(_LEAVING))]


class MyChanges(Changes):
    """What is to change; a field that is left out stays as it is. ``null`` takes back what was said."""

    username: Username = ""
    """Another name to sign in with, 1 to 64 letters, digits, `.`, `_` and `-`."""
    full_name: FullName | None = None
    """How you want to be called, at most 200 characters; null takes it back."""
    bio: Bio | None = None
    """A few words about yourself, at most 2,000 characters; null takes them back."""


class PasswordBody(Body):
    """The password that was good until now, and the one that takes its place."""

    current_password: Known
    """The password that is good now."""
    new_password: Wanted
    """8 to 1,024 characters of any kind. Those that are tried first, and one's own names, are refused."""


class EraseBody(Body):
    """Whoever has only got hold of a token shall not be able to end the account."""

    password: Known
    """The account's password."""


@routes.patch("/v1/me")
@limited("write")
@refuses("already-taken", "invalid-value")
async def change_me(body: MyChanges, commands: Mine, me: Me) -> Receipt:
    """Change one's username or profile: all of it or nothing. A taken username is ``already-taken``."""
    given = body.model_dump(exclude_unset=True)

    def decide(work: UnitOfWork) -> None:
        account = work.state(ACCOUNTS, me.id)
        if account is None:
            raise DoesNotExist("there is no such account")
        if "username" in given:
            work.execute(ACCOUNTS, me.id, ChangeUsername(username=given["username"]))
        said = {"full_name": account.full_name, "bio": account.bio, **given}
        work.execute(ACCOUNTS, me.id, ChangeProfile(full_name=said["full_name"], bio=said["bio"]))

    return await commands.run([(ACCOUNTS, me.id)], decide)


@routes.put("/v1/me/password", status_code=204)
@limited("password")
@refuses("wrong-password", "invalid-value")
async def change_my_password(
    body: PasswordBody, commands: Mine, me: Me, proving: Proving, database: DatabaseDep, passwords: PasswordsDep
) -> Done:
    """Choose another password. Every other session ends, and the account's address is told.

    A wrong ``current_password`` is ``wrong-password`` (403), and no reason to sign in again. Repeated under its key, it
    is answered as before whatever the ``current_password``; with another ``new_password`` it is another request.
    """
    proof = await proving.prove(me, body.current_password, "/current_password")
    new_hash: str | Refusal = proof.wrong()
    if proof.password_no is not None:
        account = await commands.handler.read_cached(ACCOUNTS, me.id)
        names = () if account is None else (account.email, account.username)
        new_hash = await passwords.hash_password(body.new_password, "/new_password", own=names)
    command = ChangePassword(by=PasswordChangedBy.OWNER, kept_session=me.session_id)
    new = NewPassword(body.new_password, new_hash)
    return await change_password(commands, database, passwords, me.id, command, new, proof=proof)


@routes.delete("/v1/me/sessions/{session_id}", status_code=204)
@limited("write")
async def end_my_session(session_id: UUID, commands: Last, me: Leaving, sessions: SessionsDep) -> Done:
    """Sign out somewhere else. What the session was given is refused everywhere within two seconds."""
    live = await sessions.is_live(me.id, session_id)

    def decide(work: UnitOfWork) -> None:
        if not live:
            raise NotFound
        work.execute(ACCOUNTS, me.id, EndSession(session_id=session_id, by=EndedBy.OWNER))

    receipt = await commands.run([(ACCOUNTS, me.id)], decide)
    await sessions.end(session_id)
    return Done(replayed=receipt.replayed)


@routes.delete("/v1/me", status_code=202)
@limited("password")
@refuses("wrong-password")
async def erase_me(body: EraseBody, commands: Last, me: Leaving, proving: Proving, database: DatabaseDep) -> Receipt:
    """End one's account for good: nobody can sign in to it any more, and its email and username are free again.

    A wrong ``password`` is ``wrong-password`` (403).
    """
    proof = await proving.prove(me, body.password, "/password")

    def decide(work: UnitOfWork) -> None:
        proof.check(work)
        work.execute(ACCOUNTS, me.id, EraseAccount())

    receipt = await commands.run([(ACCOUNTS, me.id)], decide)
    async with database.write() as connection:
        await account_erasure.forget(connection, [me.id])
    return receipt
