"""pydantic's findings as JSON pointers (RFC 6901), codes and details of our own; no input value is ever echoed."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

Finding = ErrorDetails | Mapping[str, Any]

LONGEST_NAME: Final = 64
MOST_FINDINGS: Final = 20

_KNOWN: Final = frozenset(get_args(ErrorType))

_DETAILS: Final[Mapping[str, str]] = {
    "missing": "This field is needed.",
    "extra_forbidden": "There is no such field.",
    "string_type": "This must be a string.",
    "string_too_short": "This must have at least {min_length} characters.",
    "string_too_long": "This must have at most {max_length} characters.",
    "string_pattern_mismatch": "This does not have the form it must have.",
    "int_type": "This must be an integer.",
    "int_parsing": "This must be an integer.",
    "int_from_float": "This must be an integer.",
    "bool_type": "This must be true or false.",
    "bool_parsing": "This must be true or false.",
    "float_type": "This must be a number.",
    "float_parsing": "This must be a number.",
    "finite_number": "This must be a finite number.",
    "list_type": "This must be a list.",
    "tuple_type": "This must be a list.",
    "dict_type": "This must be an object.",
    "model_type": "This must be an object.",
    "model_attributes_type": "This must be an object.",
    "too_short": "This must have at least {min_length} items.",
    "too_long": "This must have at most {max_length} items.",
    "greater_than": "This must be greater than {gt}.",
    "greater_than_equal": "This must be at least {ge}.",
    "less_than": "This must be less than {lt}.",
    "less_than_equal": "This must be at most {le}.",
    "literal_error": "This must be {expected}.",
    "enum": "This must be {expected}.",
    "uuid_type": "This must be a UUID.",
    "uuid_parsing": "This must be a UUID.",
    "decimal_type": "This must be a decimal number.",
    "decimal_parsing": "This must be a decimal number.",
    "decimal_max_digits": "This must have at most {max_digits} digits.",
    "decimal_max_places": "This must have at most {decimal_places} decimal places.",
    "datetime_type": "This must be a time as in RFC 3339.",
    "datetime_parsing": "This must be a time as in RFC 3339.",
    "datetime_from_date_parsing": "This must be a time as in RFC 3339.",
    "timezone_aware": "This must be a time with its zone.",
    "date_type": "This must be a date.",
    "date_parsing": "This must be a date.",
    "date_from_datetime_parsing": "This must be a date.",
    "none_required": "This must be null.",
}

_ONE: Final = re.compile(r"(\b1 (?:character|item|digit|decimal place))s\b")


def findings_of(error: ValidationError) -> list[dict[str, str]]:
    """What a model found, each as ``{"pointer", "code", "detail"}``."""
    return findings(error.errors(include_url=False, include_input=False))


def findings(errors: Iterable[Finding]) -> list[dict[str, str]]:
    """The same for errors in pydantic's own form. At most ``MOST_FINDINGS`` are told."""
    told = []
    for error, _ in zip(errors, range(MOST_FINDINGS), strict=False):
        told.append(
            {
                "pointer": pointer(error["loc"]),
                "code": error["type"].replace("_", "-"),
                "detail": _detail(error),
            }
        )
    return told


def pointer(location: Iterable[str | int]) -> str:
    """A JSON pointer. The body's fields stand at the root; ``/path/…`` and ``/query/…`` name the rest of the request.

    A name too long to be one of ours is cut off with what is below it: it is input, not a name.
    """
    parts = []
    for part in _within_body(tuple(location)):
        if isinstance(part, str) and len(part) > LONGEST_NAME:
            break
        parts.append("/" + str(part).replace("~", "~0").replace("/", "~1"))
    return "".join(parts)


def _within_body(location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return location[1:] if location[:1] == ("body",) else location


def _detail(error: Finding) -> str:
    """Our own words for pydantic's types; a custom type speaks for itself, a bare ValueError is not repeated."""
    kind = error["type"]
    if kind in _DETAILS:
        return _ONE.sub(r"\1", _DETAILS[kind].format_map(error.get("ctx") or {}))
    return "This is not acceptable." if kind in _KNOWN else str(error["msg"])
