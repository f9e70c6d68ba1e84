"""Routes that show how far an import is."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel, Field

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
    """Why the row that begins at this line of the file was not taken, or why the whole file could not be read."""

    line: int
    code: str
    detail: str
    pointer: str | None = Field(None, description="the field, as `POST /v1/products` names it")


class Import(BaseModel):
    """An import. What is neither done, failed nor skipped is still to come."""

    id: UUID
    state: Literal["waiting", "running", "finished", "failed"] = Field(
        description="`failed`: the file as a whole; what was done before is done"
    )
    total: int | None = Field(description="rows in the file; null until it has been looked through")
    done: int
    failed: int
    skipped: int = Field(description="rows of nothing but separators and blanks, as spreadsheets leave them")
    errors: list[RowError] = Field(description="the first hundred")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


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
