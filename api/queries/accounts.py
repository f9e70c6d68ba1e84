"""Reading accounts: admins all of them. One's own is in :mod:`api.queries.me`."""

import re
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi import Query as QueryParams
from pydantic import Field
from sqlalchemy.dialects.postgresql import ARRAY, array

from api.dependencies import Context, LogDep
from api.http.fast_route import router
from api.http.principal import Principal
from api.http.response import RawResponse
from api.queries.dependencies import AccountsDep, PagesDep
from api.queries.documents import PRIVATE, if_none_match, needs_of
from api.queries.lists import cursors
from api.queries.lists.page_answer import Page, PageParams, continue_after, page_answer
from api.queries.lists.query import Condition, Query, Sort
from api.queries.read_models import ACCOUNTS
from api.rate_limits.policies import limited
from api.security import require
from domain.accounts import LONGEST_EMAIL, Role
from domain.values import normal_form
from infra.eventsourcing.event_log import EventLog
from infra.postgres.statements import TIMESTAMPTZ
from projections.account_card import AccountCard

routes = router(tags=["accounts"])

NEWEST: Final = Sort(
    column="created_at", type=TIMESTAMPTZ, read=datetime.fromisoformat, write=datetime.isoformat, descending=True
)
_ROLES: Final = sa.cast(array([sa.bindparam("role", type_=sa.Text)]), ARRAY(sa.Text))
_PART: Final = sa.bindparam("part", type_=sa.Text)
_HAS_ROLE: Final = Condition(sa.column("roles", ARRAY(sa.Text)).contains(_ROLES))
_IS_ACTIVE: Final = Condition(sa.column("active", sa.Boolean) == sa.bindparam("active"))
_NAMED: Final = Condition(sa.column("email", sa.Text).like(_PART) | sa.column("username", sa.Text).like(_PART))

SHORTEST_INDEXED: Final = 3
_WILDCARDS: Final = re.compile(r"[\\%_]")
_ESCAPED: Final = r"\\\g<0>"

Admin = Annotated[Principal, Depends(require("accounts:admin"))]


class AccountFilters(PageParams):
    """Which accounts; the newest come first."""

    q: Annotated[str, Field(min_length=1, max_length=LONGEST_EMAIL)] | None = None
    """A part of the email or the username, in capitals or not."""
    role: Role | None = None
    """Those that have this role, whatever else they have."""
    active: bool | None = None
    """Those that can sign in, or those that are locked."""


@routes.get("/v1/accounts", response_model=Page[AccountCard])
@limited("read")
async def list_accounts(
    request: Request,
    context: Context,
    _: Admin,
    filters: Annotated[AccountFilters, QueryParams()],
    pages: PagesDep,
    log: LogDep,
) -> RawResponse:
    """All accounts but erased ones, page by page."""
    query = query_of(log, filters)
    page = await pages.fetch(query, filters.limit, needs_of(context), context.wait)
    return page_answer(request, *page, PRIVATE)


@routes.get("/v1/accounts/{account_id}", response_model=AccountCard)
@limited("read")
async def read_account(
    request: Request,
    context: Context,
    account_id: UUID,
    admin: Admin,
    accounts: AccountsDep,
) -> RawResponse:
    """One account. An erased one is not found.

    What was made within the last two seconds is waited for, up to 250 ms, before it is not found.
    """
    found = await accounts.find(account_id, context, admin)
    return found.to(if_none_match(request))


def query_of(log: EventLog, filters: AccountFilters) -> Query:
    """The list that is asked for."""
    conditions = filters.model_dump(exclude={"limit", "cursor"})
    query = Query(projection=ACCOUNTS, sort=NEWEST, list_id=cursors.list_id(log, ACCOUNTS, conditions))
    if filters.q is not None:
        _search(query, normal_form(filters.q))
    query.narrow(_HAS_ROLE, role=filters.role)
    query.within(_IS_ACTIVE, active=filters.active)
    continue_after(query, filters.cursor)
    return query


def _search(query: Query, part: str) -> None:
    """What is searched for is what was typed: no letter of it is a wildcard. Indexes know parts of three letters."""
    pattern = f"%{_WILDCARDS.sub(_ESCAPED, part)}%"
    (query.where if len(part) < SHORTEST_INDEXED else query.narrow)(_NAMED, part=pattern)
