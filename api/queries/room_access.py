"""Who may read what of a room: everybody a public one, and of a private one its members, and its guests the document.

It is asked of what the append keeps (:mod:`domain.rooms.allowances`), not of a read model: who was sent out reads
nothing more from the commit of that on.
"""

from typing import Final
from uuid import UUID

import sqlalchemy as sa

from api.http.principal import Principal
from api.http.request_context import RequestContext
from api.queries.documents import CachedResponse
from api.queries.lists.page_reader import Pages
from api.queries.lists.query import Condition
from api.queries.read_models import DocumentReader
from domain.rooms import INVITATION, MEMBERSHIP
from infra.postgres.statements import Statement, inline
from infra.postgres.tables.log import allowances

_READER: Final = sa.bindparam("reader", type_=sa.Uuid)
_own: Final = allowances.c.owner == _READER

_SCOPES: Final = Statement(
    sa.select(allowances.c.scope).where(
        allowances.c.scope.in_([inline(MEMBERSHIP), inline(INVITATION)]),
        _own,
        allowances.c.stream_id == sa.bindparam("room"),
    )
)
_ROOMS: Final = Statement(sa.select(allowances.c.stream_id).where(allowances.c.scope == sa.bindparam("scope"), _own))

IS_MEMBER: Final = Condition(
    sa.exists().where(
        allowances.c.scope == inline(MEMBERSHIP), _own, allowances.c.stream_id == sa.bindparam("room", type_=sa.Uuid)
    )
)
"""Whether ``reader`` is in ``room``, asked by the very statement that reads: nothing comes between."""
MAY_READ: Final = ~sa.bindparam("private", type_=sa.Boolean) | IS_MEMBER.core
"""The same, where only a ``private`` room asks for it."""
IS_SHOWN: Final = Condition(
    ~sa.column("private", sa.Boolean)
    | sa.exists().where(
        allowances.c.scope.in_([inline(MEMBERSHIP), inline(INVITATION)]),
        _own,
        allowances.c.stream_id == sa.cast(sa.column("key", sa.Text), sa.Uuid),
    )
)
"""Of rooms: that they may be seen."""


async def find_room(
    rooms: DocumentReader, pages: Pages, room_id: UUID, context: RequestContext, reader: Principal, *, within: bool
) -> CachedResponse:
    """The room's document, for who may see it; ``within``: for who may read what is in it.

    ``owner`` is None for a public room. Raises NotFound, NotYetVisible and Unavailable.
    """
    scopes = {row["scope"] for row in await pages.ask(*_SCOPES(reader=reader.id, room=room_id))}
    belongs = MEMBERSHIP in scopes or (INVITATION in scopes and not within)
    return await rooms.find(room_id, context, reader, lambda owner: owner is None or belongs)


async def rooms_of(pages: Pages, reader: Principal, scope: str) -> list[UUID]:
    """The rooms that somebody is in, or asked into."""
    return [UUID(int=row["stream_id"].int) for row in await pages.ask(*_ROOMS(reader=reader.id, scope=scope))]
