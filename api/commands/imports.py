"""Files of products: taken in as they come, kept, and left to a worker."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request
from pydantic import BaseModel

from api.commands.dependencies import ImportUploadsDep
from api.commands.dispatcher import Commands
from api.dependencies import Context
from api.errors import Problem
from api.http.body_reader import accepts, not_taken
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.request_context import stands_for
from api.http.response import REPLAYED, RawResponse, json_answer
from api.rate_limits.policies import limited
from api.refusals import refuses
from api.security import require
from api.uuid7 import new_id
from infra.eventsourcing.commands.attempt import CommandContext
from infra.imports import MEDIA, NewImport, TooManyImports
from infra.storage import LARGEST

routes = router(tags=["catalogue"])

PAUSE_SECONDS: Final = 10.0

Catalogue = Annotated[Principal, Depends(require("catalogue:write"))]

_HELP: Final = """\
Put many products on sale at once: a file of at most 100 MiB and 1,000,000 rows, each of them carried out as
`POST /v1/products` would be, with the same rules. The answer comes as soon as the file is kept; the import says how far
it is. A row that cannot be taken is told there with its line, and the others go on.

`text/csv` (RFC 4180, UTF-8, commas): the first line names the columns in any order. `sku`, `name`, `price` (an amount,
`19.90`) and `currency` are needed; `description`, `tax_rate`, `category`, `tags` (with `|` between) and `stock` may be
left out or empty. `application/x-ndjson`: each line is a body of `POST /v1/products`."""
"""The endpoint's description in the OpenAPI document."""


class ImportReceipt(BaseModel):
    """An import that has been taken in."""

    id: UUID
    """What `GET /v1/imports/{import_id}` takes."""


_FILE: Final = {"schema": {"type": "string", "format": "binary"}}


@routes.post(
    "/v1/products/import",
    status_code=202,
    response_model=ImportReceipt,
    description=_HELP,
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(MEDIA, _FILE)}},
)
@accepts(*MEDIA, limit=LARGEST, seconds=PAUSE_SECONDS, stream=True)
@limited("write")
@refuses("too-many-imports")
async def import_products(
    request: Request, importer: Catalogue, context: Context, commands: Commands, intake: ImportUploadsDep
) -> RawResponse:
    """Keep the file; a worker does the rest."""
    media = MEDIA.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
    if media is None:  # the edge has looked at bodies; there is none
        raise not_taken(MEDIA)
    new = NewImport(
        import_id=new_id(),
        account_id=importer.id,
        media=media,
        correlation=context.request_id,
        session_id=importer.session_id,
        api_key_id=importer.api_key_id,
        account_version=importer.version,
    )

    async def conditions(known_by: bytes) -> CommandContext:
        stands_for(request.scope, known_by)
        return await commands.conditions()

    try:
        with commands.handler.keys.held(await commands.conditions()):
            import_id = await intake.take(request.stream(), new, conditions)
    except TooManyImports:
        raise Problem("too-many-imports") from None
    headers = [(b"location", b"/v1/imports/%b" % str(import_id).encode("ascii"))]
    if import_id != new.import_id:
        headers.append(REPLAYED)
    return json_answer({"id": str(import_id)}, 202, headers)
