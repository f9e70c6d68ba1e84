"""A document as it is answered: the response made once for all who may see it, or 304 for who has it already."""

from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

import orjson
from fastapi import Request

from api.http.policies.entity_tags import matches
from api.http.request_context import EXCHANGE, RequestContext, RequestState, malformed_header
from api.http.response import JSON, RawResponse
from infra.eventsourcing.consistency_token import InvalidToken, Needs, decode
from infra.eventsourcing.read_cache import Document

PUBLIC: Final = (b"cache-control", b"public, no-cache")
PRIVATE: Final = (b"cache-control", b"private, no-cache")
"""Both may be kept and must be asked about again each time, which an ETag makes cheap."""


class CachedResponse(NamedTuple):
    """A document's answers. ``owner`` is whose it is, for documents that are not everybody's."""

    etag: bytes
    answer: RawResponse
    unchanged: RawResponse
    owner: UUID | None = None

    def to(self, if_none_match: bytes | None) -> RawResponse:
        """The document, or 304 for a client that has it (RFC 9110 section 13.1.2)."""
        if if_none_match is None or not matches(if_none_match, self.etag):
            return self.answer
        return self.unchanged


def cached_response(document: Document, caching: tuple[bytes, bytes], owner: UUID | None = None) -> CachedResponse:
    """The answers for a document.

    Its tag begins with the version, which ``If-Match`` understands. That alone would not tell one text from another:
    the stock of a product changes without a new version, and newer code may write the same version differently.
    """
    digest = int.from_bytes(blake2b(document.body, digest_size=7).digest())
    etag = b'"%d-%d"' % (document.version, digest)
    headers = [(b"etag", etag), caching]
    return CachedResponse(etag, RawResponse(200, [JSON, *headers], document.body), RawResponse(304, headers), owner)


def product(document: Document) -> CachedResponse:
    """For everybody."""
    return cached_response(document, PUBLIC)


def order(document: Document) -> CachedResponse:
    """For its customer, and for staff."""
    customer = UUID(orjson.loads(document.body)["customer_id"])
    return cached_response(document, PRIVATE, customer)


def account(document: Document) -> CachedResponse:
    """For whoever signs in to it, and for admins."""
    return cached_response(document, PRIVATE, UUID(orjson.loads(document.body)["id"]))


def room(document: Document) -> CachedResponse:
    """For everybody; a private one, which has an owner here, for those who belong to it."""
    told = orjson.loads(document.body)
    return cached_response(document, PRIVATE, UUID(told["id"]) if told["private"] else None)


def webhook(document: Document) -> CachedResponse:
    """For whoever registered it."""
    return cached_response(document, PRIVATE, UUID(orjson.loads(document.body)["account_id"]))


def needs_of(context: RequestContext) -> Needs:
    """What the request's token asks for. Raises :class:`~api.errors.Problem` ``malformed-header`` for a false one."""
    if context.consistency_token is None:
        return {}
    try:
        return decode(context.consistency_token)
    except InvalidToken:
        raise malformed_header(b"consistency-token") from None


def if_none_match(request: Request) -> bytes | None:
    """The request's condition, if it has one."""
    exchange: RequestState = request.scope[EXCHANGE]
    return exchange.headers.get(b"if-none-match")
