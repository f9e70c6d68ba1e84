"""Answers in their final bytes."""

from uuid import UUID

import orjson
import pytest
from asyncpg.pgproto import pgproto

from api.http.response import Receipt

ID = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize("kind", [UUID, pgproto.UUID])
def test_a_receipt_tells_an_id_also_where_it_came_from_a_row(kind: type[UUID]) -> None:
    told = Receipt(id=kind(ID), version=1, position=2).answer(201).body
    assert orjson.loads(told) == {"id": ID, "version": 1, "position": 2}


def test_a_receipt_with_what_is_no_json_is_an_error() -> None:
    with pytest.raises(TypeError):
        Receipt(id=UUID(ID), version=1, position=2, extra={"odd": object()}).answer(201)
