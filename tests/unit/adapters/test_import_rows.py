"""Rows of files, read by the rules of bodies: numbers are written in one way, whichever door they come by."""

from decimal import Decimal

import pytest

from workers.imports.record_splitter import Record
from workers.imports.row_parser import BadRow, csv_reader, ndjson_row


def record(text: str) -> Record:
    return Record(line=1, raw=text.encode(), end=len(text), next_line=2)


HEADER = record("sku,name,price,currency,tax_rate,stock")


def csv_row(price: str, tax_rate: str, stock: str) -> Record:
    return record(f"A,a,{price},EUR,{tax_rate},{stock}")


def test_numbers_as_they_are_written() -> None:
    read = csv_reader(HEADER)(csv_row("0.50", "0.190", "10"))
    assert (read.price.amount, read.tax_rate, read.stock) == ("0.50", Decimal("0.190"), 10)


@pytest.mark.parametrize("tax_rate", ["00.1", "-0", "-0.0", "+0.1", ".1", "0_1", "1e-1", " 0.1", "٠.١", "01"])
def test_a_share_that_only_a_lenient_parser_takes_is_refused_in_every_file(tax_rate: str) -> None:
    body = f'{{"sku": "A", "name": "a", "price": {{"amount": "1", "currency": "EUR"}}, "tax_rate": "{tax_rate}"}}'
    for read, row in ((csv_reader(HEADER), csv_row("1.00", tax_rate, "1")), (ndjson_row, record(body))):
        with pytest.raises(BadRow) as bad:
            read(row)
        assert (bad.value.code, bad.value.pointer) == ("decimal-parsing", "/tax_rate")


@pytest.mark.parametrize("stock", ["007", "-0", "+1", "1_0", "1.0", " 1", "٣"])
def test_so_is_a_number_of_pieces(stock: str) -> None:
    with pytest.raises(BadRow) as bad:
        csv_reader(HEADER)(csv_row("1.00", "0", stock))
    assert (bad.value.code, bad.value.pointer) == ("int-type", "/stock")
