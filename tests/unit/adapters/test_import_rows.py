"""Rows of files, read by the rules of bodies: numbers are written in one way, whichever door they come by."""

from decimal import Decimal

import pytest

from infra.schemas.product import NewProduct
from workers.imports.record_splitter import BROKEN_QUOTES, LONGEST_RECORD, Record
from workers.imports.row_parser import COLUMNS, MOST_COLUMNS, BadFile, BadRow, Fault, csv_reader, ndjson_row, read


def record(text: str) -> Record:
    return Record(line=1, raw=text.encode(), end=len(text), next_line=2)


HEADER = record("sku,name,price,currency,tax_rate,stock")


def csv_row(price: str, tax_rate: str, stock: str) -> Record:
    return record(f"A,a,{price},EUR,{tax_rate},{stock}")


def test_numbers_as_they_are_written() -> None:
    read = csv_reader(HEADER)(csv_row("0.50", "0.190", "10"))
    assert read is not None
    assert (read.price.amount, read.tax_rate, read.stock) == ("0.50", Decimal("0.190"), 10)


@pytest.mark.parametrize("tax_rate", ["00.1", "-0", "-0.0", "+0.1", ".1", "0_1", "1e-1", " 0.1", "٠.١", "01"])
def test_a_share_that_only_a_lenient_parser_takes_is_refused_in_every_file(tax_rate: str) -> None:
    body = f'{{"sku": "A", "name": "a", "price": {{"amount": "1", "currency": "EUR"}}, "tax_rate": "{tax_rate}"}}'
    for reader, row in ((csv_reader(HEADER), csv_row("1.00", tax_rate, "1")), (ndjson_row, record(body))):
        with pytest.raises(BadRow) as bad:
            reader(row)
        assert (bad.value.code, bad.value.pointer) == ("decimal-parsing", "/tax_rate")


@pytest.mark.parametrize("stock", ["007", "-0", "+1", "1_0", "1.0", " 1", "٣"])
def test_so_is_a_number_of_pieces(stock: str) -> None:
    with pytest.raises(BadRow) as bad:
        csv_reader(HEADER)(csv_row("1.00", "0", stock))
    assert (bad.value.code, bad.value.pointer) == ("int-type", "/stock")


BLANK = ["", ",,,,,", ",", " , ,\t,,", '"","",,"",""', ',"  ",,,', '"\r\n",,,,', "," * 100_000, '"",' * 40_000]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["none", "LF", "CRLF"])
@pytest.mark.parametrize("row", BLANK, ids=map(len, BLANK))
def test_in_a_row_of_blanks_nothing_stands(row: str, end: str) -> None:
    assert csv_reader(HEADER)(record(row + end)) is None


@pytest.mark.parametrize("row", ['"""",,,,,', '",",,,,,', ",,,,,0", '" "" ",,,,,', "\x1c,,,,,", "\u00a0,,,,,"])
def test_in_a_row_with_anything_but_blanks_something_does(row: str) -> None:
    with pytest.raises(BadRow):
        csv_reader(HEADER)(record(row))


def test_nor_is_a_row_blank_whose_form_is_wrong() -> None:
    with pytest.raises(BadRow, match=BROKEN_QUOTES):
        csv_reader(HEADER)(Record(line=1, raw=b"", end=1, next_line=2, fault=BROKEN_QUOTES))


@pytest.mark.parametrize("row", ["a,b,1.00,EUR,0,1" + "," * 100_000, 'a,"b",1.00,EUR,0,1' + ",x" * 50_000])
def test_a_row_with_thousands_of_fields_has_too_many(row: str) -> None:
    with pytest.raises(BadRow, match="wrong-columns"):
        csv_reader(HEADER)(record(row))


@pytest.mark.parametrize(("tags", "code"), [("t|" * 40_000, "too-long"), ("|".join("t" * 33), "too-long")])
def test_so_has_one_with_more_tags_than_a_product_may_have(tags: str, code: str) -> None:
    with pytest.raises(BadRow) as bad:
        csv_reader(record("sku,name,price,currency,tags"))(record(f"A,a,1.00,EUR,{tags}"))
    assert (bad.value.code, bad.value.pointer) == (code, "/tags")


def test_a_row_at_which_memory_runs_out_is_not_said_to_be_wrong() -> None:
    def starved(_: Record) -> NewProduct:
        raise MemoryError

    def broken(_: Record) -> NewProduct:
        raise KeyError

    with pytest.raises(MemoryError):
        read(starved, HEADER)
    assert isinstance(read(broken, HEADER), Fault)


HEADERS = {
    "sku,name,price": "Missing: currency.",
    "sku,name,price,currency,sku,colour": "Unknown or repeated: column 5, 6.",
    "sku," * 20 + "sku": "Missing: name, price, currency. Unknown or repeated: column 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.",
    ",".join(["sku"] * MOST_COLUMNS): "Missing: name, price, currency. "
    "Unknown or repeated: column 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.",
    ",".join(["sku"] * (MOST_COLUMNS + 1)): "It has more than 100.",
    ",".join(["sku"] * (LONGEST_RECORD // 4)): "It has more than 100.",
    ",".join(COLUMNS) + "," * (LONGEST_RECORD // 2): "It has more than 100.",
    ",".join(['"sku"'] * (LONGEST_RECORD // 6)): "It has more than 100.",
}


@pytest.mark.parametrize(("header", "told"), HEADERS.items(), ids=[f"{len(header)} bytes" for header in HEADERS])
def test_a_wrong_header_is_told_by_some_of_its_columns_and_by_none_where_there_are_hundreds(
    header: str, told: str
) -> None:
    with pytest.raises(BadFile, match="wrong-header") as bad:
        csv_reader(record(header))
    assert bad.value.detail.partition("between. ")[2] == told
