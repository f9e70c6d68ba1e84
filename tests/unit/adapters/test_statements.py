"""A statement in Core goes to the driver as its text, and its values in their order: each of them, and no other."""

from datetime import timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa

from infra.eventsourcing.projections.table_name import table_name, with_names
from infra.postgres.statements import CLOCK, Statement, inline
from infra.postgres.tables.identity import links
from infra.postgres.tables.outboxes import mail_is_owed, mail_ledger

USE = Statement(
    sa.update(links)
    .values(used_at=CLOCK - timedelta(days=1))
    .where(links.c.link_id == sa.bindparam("link"), links.c.purpose == sa.bindparam("purpose"))
    .where(links.c.link_id != sa.bindparam("link"))
)


def test_values_go_in_the_order_of_the_text_and_one_that_stands_twice_goes_once() -> None:
    link = uuid4()
    text, *values = USE(purpose="reset-password", link=link)
    assert " ".join(text.split()) == (
        "UPDATE links SET used_at=(clock_timestamp() - $1::INTERVAL)"
        " WHERE links.link_id = $2::UUID AND links.purpose = $3::VARCHAR AND links.link_id != $2::UUID"
    )
    assert values == [timedelta(days=1), link, "reset-password"]


@pytest.mark.parametrize(
    "values", [{}, {"link": uuid4()}, {"link": 1, "purpose": "", "more": 1}, {"lnk": 1, "purpose": ""}]
)
def test_a_value_too_few_or_too_many_is_refused_before_anything_is_sent(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"takes \['link', 'purpose'\]"):
        USE(**values)


def test_none_is_a_value() -> None:
    assert USE(purpose=None, link=None)[2:] == (None, None)


def test_the_condition_of_a_partial_index_stands_in_the_text() -> None:
    text, *values = Statement(sa.select(mail_ledger.c.kind).where(mail_is_owed).limit(inline(5)))()
    assert "IN ('due', 'sending', 'unknown')" in text
    assert text.endswith("LIMIT 5")
    assert values == []


def test_what_is_inlined_cannot_end_its_quotes() -> None:
    text, *_ = Statement(sa.select(mail_ledger.c.kind).where(mail_ledger.c.state == inline("x' OR ''='")))()
    assert text.endswith("= 'x'' OR ''''='''")


@pytest.mark.parametrize("projection", ["", "orders; DROP TABLE events", "Orders", "orders_1 o"])
def test_nothing_but_the_name_of_a_generation_becomes_the_name_of_a_table(projection: str) -> None:
    assert table_name("order_summary", 3) == "rm_order_summary_3"
    with pytest.raises(ValueError, match="names no generation"):
        table_name(projection, 3)


@pytest.mark.parametrize("part", ["a; DROP TABLE events", "a'", 'a"', "a -- b", "a /* b"])
def test_nothing_but_names_is_put_into_a_statement(part: str) -> None:
    assert with_names("SELECT {a} FROM {b}", a="r.x::text[], $1", b="t") == "SELECT r.x::text[], $1 FROM t"
    with pytest.raises(ValueError, match="more than names"):
        with_names("SELECT {a}", a=part)
