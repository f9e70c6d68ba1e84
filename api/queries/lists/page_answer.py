"""A page of a list as it is asked for and answered: documents joined as they are stored, and the cursor behind them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from api.errors import Problem
from api.http.policies.entity_tags import matches
from api.http.response import JSON, Headers, RawResponse
from api.queries.documents import if_none_match
from api.queries.lists import cursors
from api.queries.lists.query import Query
from api.schemas import Params

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some items of a list."""

    model_config = ConfigDict(json_schema_extra={"description": "Some items of a list."})

    items: list[T]
    """The items, in the order of the list."""
    next: str | None
    """The `cursor` of the page that follows; null at the end."""

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        """``ProductCardPage``: a name that programs can use."""
        named = getattr(params[0], "model_config", {})
        return f"{named.get('title') or params[0].__name__}Page"


class PageParams(Params):
    """What every list takes."""

    limit: int = Field(20, ge=1, le=100)
    """How many items at most, 1 to 100."""
    cursor: Annotated[str, Field(max_length=cursors.LONGEST)] | None = None
    """`next` of the page before, with the same filters and sort."""


def read_cursor(list_id: bytes, cursor: str, kinds: tuple[type, ...]) -> list[Any]:
    """The place behind a cursor. Raises :class:`~api.errors.Problem` ``invalid``."""
    with refusing_false_cursors():
        return cursors.decode(list_id, cursor, kinds)


def continue_after(query: Query, cursor: str | None) -> None:
    """Has the list go on behind the cursor. Raises :class:`~api.errors.Problem` ``invalid``."""
    with refusing_false_cursors():
        query.after(cursor)


@contextmanager
def refusing_false_cursors() -> Iterator[None]:
    """Makes the answer to a cursor that is none of the list's."""
    try:
        yield
    except cursors.InvalidCursor:
        finding = {"pointer": "/query/cursor", "code": "invalid-cursor", "detail": "This is no cursor of this list."}
        raise Problem("invalid", errors=[finding]) from None


def page_answer(
    request: Request, items: Sequence[bytes], cursor: str | None, caching: tuple[bytes, bytes]
) -> RawResponse:
    """``{"items": […], "next": …}`` around documents that are JSON already, or 304 for a client that has this page."""
    headers: Headers = []
    quoted = b"null"
    if cursor is not None:
        quoted = b'"%b"' % cursor.encode("ascii")
        headers.append((b"link", b'<%b>; rel="next"' % _url_of(request, cursor).encode("ascii")))
    body = b'{"items":[%b],"next":%b}' % (b",".join(items), quoted)
    etag = b'"page-%b"' % blake2b(body, digest_size=8).hexdigest().encode("ascii")  # no version, as If-Match would take
    headers += [(b"etag", etag), caching]
    condition = if_none_match(request)
    if condition is not None and matches(condition, etag):
        return RawResponse(304, headers)
    return RawResponse(200, [JSON, *headers], body)


def page_of_few(
    request: Request,
    list_id: bytes,
    params: PageParams,
    rows: Sequence[tuple[tuple[str, str], bytes]],
    caching: tuple[bytes, bytes],
) -> RawResponse:
    """A page of a list that is so short that all of it was read: documents with their places, the greatest first."""
    if params.cursor is not None:
        behind = tuple(read_cursor(list_id, params.cursor, (str, str)))
        rows = [row for row in rows if row[0] < behind]
    shown = rows[: params.limit]
    cursor = cursors.encode(list_id, [*shown[-1][0]]) if len(rows) > params.limit else None
    return page_answer(request, [document for _, document in shown], cursor, caching)


def moment(time: datetime) -> str:
    """A time as texts of which the later one is the greater."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _url_of(request: Request, cursor: str) -> str:
    """This request's target with another cursor."""
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if name not in ("cursor", "after")]
    return f"{request.scope['path']}?{urlencode([*kept, ('cursor', cursor)])}"
