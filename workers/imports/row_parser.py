"""From a record to a new product, by the very rules of ``POST /v1/products``; or to what is wrong with it.

CSV names its columns in the first record, in any order. A column that is left out, or a field that is left empty, is
what the same field is when it is left out of the JSON body.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from domain.catalogue import MOST_TAGS
from infra.host.exhaustion import is_exhaustion
from infra.schemas.forms import FORMS
from infra.schemas.product import NewProduct
from infra.schemas.strict_json import MalformedJson, check_json
from infra.schemas.validation_errors import findings_of
from workers.imports.record_splitter import BROKEN_QUOTES, TOO_LONG, Record

_log = structlog.get_logger("weir.imports")

COLUMNS: Final = ("sku", "name", "description", "price", "currency", "tax_rate", "category", "tags", "stock")
NEEDED: Final = frozenset({"sku", "name", "price", "currency"})
MOST_COLUMNS: Final = 100
"""Of a header that is looked at closely enough to say which of them are wrong."""
TAG_SEPARATOR: Final = "|"

ReadRow: TypeAlias = Callable[[Record], NewProduct | None]
"""None for a row in which nothing stands. Raises :class:`BadRow`."""

_EMPTY: Final = rb'(?:"\s*+"|\s*+)'
_BLANK: Final = re.compile(rb"%b(?:,%b)*+(?:\r?\n)?" % (_EMPTY, _EMPTY))
_DETAILS: Final[Mapping[str, str]] = {
    TOO_LONG: "The line is longer than 128 KiB.",
    BROKEN_QUOTES: "The quotes do not come out even: a field stands in them as a whole, with a quote in it twice.",
    "invalid-utf-8": "The line is not UTF-8.",
    "unreadable": "The line cannot be read.",
    "malformed-json": "The line is not one object of strict JSON.",
    "wrong-columns": "The row does not have as many fields as the header.",
    "no-rows": "The file has no rows.",
    "too-many-rows": "The file has more than 1,000,000 rows.",
    "file-lost": "The file is no longer there.",
}
_STRICT: Final = csv.reader((), strict=True).dialect
_validate: Final = TypeAdapter(NewProduct).validator.validate_json


class Fault(NamedTuple):
    """What is told of a row that could not be taken. It repeats nothing of the row."""

    line: int
    code: str
    detail: str
    pointer: str | None = None

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class BadRow(Exception):
    """The record is no product that the shop could take."""

    def __init__(self, code: str, detail: str | None = None, pointer: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail or _DETAILS[code]
        self.pointer = pointer

    def at(self, line: int) -> Fault:
        """As it is told."""
        return Fault(line, self.code, self.detail, self.pointer)


class BadFile(BadRow):
    """Not a row but the whole file cannot be read."""


def read(read_row: ReadRow, record: Record) -> NewProduct | Fault | None:
    """What stands in the row, or what is wrong with it; None where nothing stands in it."""
    try:
        return read_row(record)
    except BadRow as bad:
        return bad.at(record.line)
    except Exception as error:  # whatever a row does to its reader, it is one row
        if is_exhaustion(error):
            raise
        _log.error("a row broke its reader", line=record.line, error=type(error).__name__)
        return BadRow("unreadable").at(record.line)


def ndjson_row(record: Record) -> NewProduct:
    """A line of NDJSON. Raises :class:`BadRow`."""
    _check_form(record)
    try:
        check_json(record.raw)
    except MalformedJson:
        raise BadRow("malformed-json") from None
    return _product(record.raw)


def csv_reader(header: Record) -> ReadRow:
    """What reads the rows under this header. Raises :class:`BadFile`."""
    columns = _columns(header)

    def read(record: Record) -> NewProduct | None:
        if record.fault is None and _BLANK.fullmatch(record.raw):
            return None
        fields = _fields(record, len(columns))
        if len(fields) != len(columns):
            raise BadRow("wrong-columns")
        return _product(orjson.dumps(_body(dict(zip(columns, fields, strict=True)))))

    return read


def _columns(header: Record) -> Sequence[str]:
    try:
        columns = [name.strip() for name in _fields(header, MOST_COLUMNS)]
    except BadRow as bad:
        raise BadFile(bad.code, bad.detail) from None
    named = set(columns)
    if len(named) == len(columns) and NEEDED <= named <= set(COLUMNS):
        return columns
    detail = "The first line must name columns among " + ", ".join(COLUMNS) + ", each once, with commas between."
    if len(columns) > MOST_COLUMNS:
        raise BadFile("wrong-header", detail + f" It has more than {MOST_COLUMNS}.")
    wrong = [str(place) for place, name in enumerate(columns, 1) if name not in COLUMNS or name in columns[: place - 1]]
    missing = [name for name in COLUMNS if name in NEEDED - named]
    if missing:
        detail += f" Missing: {', '.join(missing)}."
    if wrong:
        detail += f" Unknown or repeated: column {', '.join(wrong[:10])}."
    raise BadFile("wrong-header", detail)


def _fields(record: Record, most: int) -> list[str]:
    """Its fields; of more than ``most`` of them perhaps not each by itself."""
    text = _check_form(record).removesuffix("\n").removesuffix("\r")
    return next(csv.reader((text,), _STRICT)) if '"' in text else text.split(",", most)


def _check_form(record: Record) -> str:
    if record.fault is not None:
        raise BadRow(record.fault)
    try:
        return record.raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRow("invalid-utf-8") from None


def _body(fields: dict[str, str]) -> dict[str, Any]:
    """The JSON body that says the same."""
    given: dict[str, Any] = {name: text for name, text in fields.items() if text or name in NEEDED}
    given["price"] = {"amount": given["price"], "currency": given.pop("currency")}
    if "tags" in given:
        given["tags"] = given["tags"].split(TAG_SEPARATOR, MOST_TAGS)  # one more is told, and not a thousand
    if "stock" in given and FORMS[int].fits(given["stock"]):
        given["stock"] = int(given["stock"])
    return given


def _product(body: bytes) -> NewProduct:
    try:
        product: NewProduct = _validate(body, strict=True)
    except ValidationError as error:
        found = findings_of(error)[0]
        raise BadRow(found["code"], found["detail"], found["pointer"]) from None
    return product
