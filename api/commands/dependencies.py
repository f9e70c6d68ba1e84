"""What commands work with, as the lifespan has opened it, and a dependency for each."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.http.upload_slots import UploadSlots
from api.images import ImageRewriter
from api.import_uploads import ImportUploads
from api.security import Identity
from infra.concurrency.background_tasks import Background
from infra.eventsourcing.commands.handler import CommandHandler
from infra.identity.access_tokens import Tokens
from infra.identity.one_time_links import Links
from infra.identity.passwords import Passwords
from infra.identity.server_secret import ServerSecret
from infra.identity.sessions import Sessions
from infra.identity.signing_keys import SigningKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSide:
    """The lifespan's state for commands: ``request.state.write_side``."""

    handler: CommandHandler
    secret: ServerSecret
    passwords: Passwords
    sessions: Sessions
    links: Links
    signing_keys: SigningKeys
    background: Background
    intake: ImportUploads
    uploads: UploadSlots
    rewriter: ImageRewriter


async def get_write_side(request: Request) -> WriteSide:
    """All of it."""
    side: WriteSide = request.state.write_side
    return side


WriteSideDep = Annotated[WriteSide, Depends(get_write_side)]


async def get_passwords(side: WriteSideDep) -> Passwords:
    return side.passwords


async def get_tokens(request: Request) -> Tokens:
    identity: Identity = request.state.identity
    return identity.tokens


async def get_sessions(side: WriteSideDep) -> Sessions:
    return side.sessions


async def get_links(side: WriteSideDep) -> Links:
    return side.links


async def get_signing_keys(side: WriteSideDep) -> SigningKeys:
    return side.signing_keys


async def get_background(side: WriteSideDep) -> Background:
    return side.background


async def get_intake(side: WriteSideDep) -> ImportUploads:
    return side.intake


async def get_uploads(side: WriteSideDep) -> UploadSlots:
    return side.uploads


async def get_rewriter(side: WriteSideDep) -> ImageRewriter:
    return side.rewriter


PasswordsDep = Annotated[Passwords, Depends(get_passwords)]
TokensDep = Annotated[Tokens, Depends(get_tokens)]
SessionsDep = Annotated[Sessions, Depends(get_sessions)]
LinksDep = Annotated[Links, Depends(get_links)]
SigningKeysDep = Annotated[SigningKeys, Depends(get_signing_keys)]
BackgroundDep = Annotated[Background, Depends(get_background)]
ImportUploadsDep = Annotated[ImportUploads, Depends(get_intake)]
UploadSlotsDep = Annotated[UploadSlots, Depends(get_uploads)]
RewriterDep = Annotated[ImageRewriter, Depends(get_rewriter)]
