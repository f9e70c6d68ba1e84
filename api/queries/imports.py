"""Routes that show how far an import is."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel

from api.dependencies import DatabaseDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import JSON, RawResponse
from api.rate_limits.policies import limited
from api.security import require
from infra import imports
from infra.errors import NotFound

routes = router(tags=["catalogue"])

OPERATE: Final = "operations"
"""Who may see the imports of others."""


class RowError(BaseModel):
    """Why a row was not taken, or why the whole file could not be read."""

    line: int
    """The line of the file at which the row begins."""
    code: str
    """What is wrong, as `POST /v1/products` would name it."""
    detail: str
    """The same in words."""
    pointer: str | None = None
    """The field, as `POST /v1/products` names it: `/price/amount`."""


class Import(BaseModel):
    """An import. What is neither done, failed nor skipped is still to come."""

    id: UUID
    """The import's id."""
    state: Literal["waiting", "running", "finished", "failed"]
    """How far it is. `failed` means the file as a whole: what was done before is done."""
    total: int | None
    """How many rows the file has; null until it has been looked through."""
    done: int
    """How many rows are products now."""
    failed: int
    """How many rows were not taken."""
    skipped: int
    """How many rows were nothing but separators and blanks, as spreadsheets leave them."""
    errors: list[RowError]
    """What was wrong with rows, the first hundred of them."""
    created_at: datetime
    """When the file was taken in."""
    started_at: datetime | None
    """When the first row was looked at."""
    finished_at: datetime | None
    """When the last row was done."""


@routes.get("/v1/imports/{import_id}", response_model=Import)
@limited("read")
async def read_import(
    import_id: UUID,
    reader: Annotated[Principal, Depends(require("catalogue:write"))],
    database: DatabaseDep,
) -> RawResponse:
    """One of one's own imports; for operators anybody's."""
    found = await imports.see(database, import_id)
    if found is None or (found.account_id != reader.id and OPERATE not in reader.scopes):
        raise NotFound
    told = Import.model_validate({**found._asdict(), "id": found.import_id})
    return RawResponse(200, [JSON], told.model_dump_json().encode())
