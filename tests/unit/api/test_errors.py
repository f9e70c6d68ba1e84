"""Problems: every refusal has its status, every exception its problem, and none repeats what was sent."""

import importlib
import inspect
import json
import pkgutil
import socket
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, EmailStr, Field, HttpUrl, ValidationError
from pydantic_core import PydanticCustomError
from redis import exceptions as redis
from starlette.exceptions import HTTPException

import domain
from api.errors import CODES, Problem, problem_answer, problem_of
from api.problem_kinds import STATUS
from api.schemas import Body
from domain.kernel.refusals import AlreadyTaken, Refusal
from infra import errors as infra
from infra.schemas.validation_errors import MOST_FINDINGS, findings_of, pointer

SECRET = "zq9secret"

NEVER_IN_A_REQUEST = {infra.UnknownSchema, infra.NoEncryptionKey, infra.Fenced}


def refusals() -> list[type[Refusal]]:
    """Every refusal of the application; tests have some of their own."""
    for module in pkgutil.walk_packages(domain.__path__, "domain."):
        importlib.import_module(module.name)
    ours = [kind for kind in _below(Refusal) if not kind.__module__.startswith("tests.")]
    return sorted(ours, key=lambda kind: kind.__name__)


def _below(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def failures() -> list[type[Exception]]:
    """Everything that infra can raise on the way of a request."""
    kinds = [kind for _, kind in inspect.getmembers(infra, inspect.isclass) if issubclass(kind, Exception)]
    return [kind for kind in kinds if kind not in NEVER_IN_A_REQUEST]


@pytest.mark.parametrize("refusal", refusals())
def test_no_refusal_is_missing_from_the_table(refusal: type[Refusal]) -> None:
    assert refusal.code in STATUS
    assert 400 <= STATUS[refusal.code].status < 500


@pytest.mark.parametrize("failure", failures())
def test_no_failure_is_missing_from_the_table(failure: type[Exception]) -> None:
    assert STATUS[CODES[failure]].status in (404, 409, 412, 413, 422, 503)


@pytest.mark.parametrize(
    "failure",
    [
        infra.Unavailable(),
        infra.TooBusy(),
        TimeoutError(),
        asyncpg.DiskFullError(),
        asyncpg.UndefinedTableError(),
        KeyError(),
        *(Problem(code) for code, kind in STATUS.items() if kind.status >= 500 and code != "outcome-unknown"),
    ],
    ids=repr,
)
def test_once_a_command_is_in_the_log_nobody_is_told_that_nothing_was_stored(failure: Exception) -> None:
    assert problem_of(failure, committed=True).code == "outcome-unknown"


def test_what_the_rules_say_is_told_as_it_is_also_after_a_commit() -> None:
    for code in (code for code, kind in STATUS.items() if kind.status < 500):
        assert problem_of(Problem(code), committed=True).code == code
    assert problem_of(infra.NotFound(), committed=True).code == "not-found"


def test_no_code_says_after_a_commit_that_nothing_was_stored() -> None:
    promises = {code for code, kind in STATUS.items() if "Nothing was stored" in kind.detail}
    assert promises >= {"unavailable", "too-busy"}
    assert {problem_of(Problem(code), committed=True).code for code in promises} == {"outcome-unknown"}


def test_every_code_is_kebab_case_with_a_title_and_a_detail() -> None:
    for code, kind in STATUS.items():
        assert code == code.lower().replace("_", "-")
        assert kind.title
        for told in (kind.detail, kind.when, kind.remedy):
            assert told.endswith("."), code


@pytest.mark.parametrize("code", [code for code, kind in STATUS.items() if kind.status == 401])
def test_every_401_says_how_to_authenticate(code: str) -> None:
    assert b"www-authenticate" in dict(problem_answer(Problem(code), "r").headers)


@pytest.mark.parametrize("code", [code for code, kind in STATUS.items() if kind.status in (429, 503)])
def test_whatever_passes_says_when_to_come_back(code: str) -> None:
    assert b"retry-after" in dict(problem_answer(Problem(code), "r").headers)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AlreadyTaken("taken"), 409, "already-taken"),
        (infra.OutcomeUnknown(), 503, "outcome-unknown"),
        (infra.VersionMismatch(expected=(1,), actual=2), 412, "version-mismatch"),
        (infra.IdempotencyKeyReused(), 422, "idempotency-key-reused"),
        (infra.IdempotencyKeyInFlight(), 409, "idempotency-key-in-flight"),
        (infra.NotFound(), 404, "not-found"),
        (ConnectionRefusedError(), 503, "unavailable"),
        (TimeoutError(), 503, "unavailable"),
        (socket.gaierror(), 503, "unavailable"),
        (asyncpg.ConnectionDoesNotExistError(), 503, "outcome-unknown"),
        (asyncpg.CannotConnectNowError(), 503, "unavailable"),
        (asyncpg.AdminShutdownError(), 503, "outcome-unknown"),
        (asyncpg.SerializationError(), 503, "unavailable"),
        (asyncpg.InvalidPasswordError(), 503, "unavailable"),
        (asyncpg.ReadOnlySQLTransactionError(), 503, "unavailable"),
        (asyncpg.InterfaceError(SECRET), 500, "internal"),
        (asyncpg.TooManyConnectionsError(), 503, "unavailable"),
        (asyncpg.QueryCanceledError(), 503, "unavailable"),
        (redis.ConnectionError(), 503, "unavailable"),
        (redis.TimeoutError(), 503, "unavailable"),
        (redis.BusyLoadingError(), 503, "unavailable"),
        (asyncpg.UndefinedTableError(), 500, "internal"),
        (FileNotFoundError(), 500, "internal"),
        (KeyError(SECRET), 500, "internal"),
        (RecursionError(), 500, "internal"),
        (HTTPException(404, SECRET), 404, "not-found"),
        (HTTPException(418, SECRET), 400, "malformed-request"),
        (HTTPException(502, SECRET), 500, "internal"),
        (
            RequestValidationError([{"type": "missing", "loc": ("query", "a"), "msg": "", "input": SECRET}]),
            422,
            "invalid",
        ),
    ],
)
def test_an_exception_becomes_its_problem_and_tells_no_more(error: Exception, status: int, code: str) -> None:
    answer = problem_answer(problem_of(error), "req-1")
    document = json.loads(answer.body)
    assert answer.status == document["status"] == status
    assert dict(answer.headers)[b"content-type"] == b"application/problem+json"
    assert document["type"] == f"/problems/{code}"
    assert (document["code"], document["request_id"]) == (code, "req-1")
    assert SECRET.encode() not in answer.body


def test_the_frameworks_headers_are_kept() -> None:
    headers = problem_answer(problem_of(HTTPException(405, headers={"Allow": "GET"})), "r").headers
    assert (b"allow", b"GET") in headers


def test_a_read_that_is_not_yet_visible_says_how_long_to_wait() -> None:
    headers = problem_answer(problem_of(infra.NotYetVisible(retry_after=7)), "r").headers
    assert (b"retry-after", b"7") in headers


def test_a_refusal_that_blames_a_field_points_to_it() -> None:
    document = json.loads(problem_answer(problem_of(AlreadyTaken("it is taken", pointer="/email")), "r").body)
    assert document["detail"] == "it is taken"
    assert document["errors"] == [{"pointer": "/email", "code": "already-taken", "detail": "it is taken"}]


class Color(Enum):
    """Three would be too many."""

    RED = "red"
    BLUE = "blue"


def _never(value: str) -> str:
    raise ValueError(f"{value} is bad")


def _assert_never(value: str) -> str:
    assert value == "never", value
    return value


def _said(value: str) -> str:
    raise PydanticCustomError("too_common", "This password is too common.")


class Inner(Body):
    """A level below."""

    a_b: int = Field(alias="a/b~c", ge=1)


class Everything(BaseModel):
    """One field of each kind that a body may have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-y]+$")] | None = None
    whole: Annotated[int, Field(ge=1, le=9)] | None = None
    above: Annotated[int, Field(gt=1, lt=9)] | None = None
    exact: Annotated[Decimal, Field(max_digits=5, decimal_places=2)] | None = None
    real: Annotated[float, Field(allow_inf_nan=False)] | None = None
    truth: bool | None = None
    id: UUID | None = None
    when: datetime | None = None
    day: date | None = None
    color: Color | None = None
    word: Literal["yes", "no"] | None = None
    email: EmailStr | None = None
    url: HttpUrl | None = None
    address: IPv4Address | None = None
    bad: Annotated[str, AfterValidator(_never)] | None = None
    worse: Annotated[str, AfterValidator(_assert_never)] | None = None
    said: Annotated[str, AfterValidator(_said)] | None = None
    many: Annotated[list[Inner], Field(min_length=1, max_length=2)] | None = None
    named: dict[str, int] | None = None
    pair: tuple[int, int] | None = None


SOME = [SECRET, "", "zq9secret zq9secret", 9_000_009, -9_000_009, 9.000009, True, None, [SECRET], {SECRET: SECRET}]


@pytest.mark.parametrize("name", Everything.model_fields)
@pytest.mark.parametrize("value", SOME, ids=repr)
def test_no_finding_repeats_a_value(name: str, value: Any) -> None:
    """A short name of a field that is not there is told, and no more of it: here names are secrets as well."""
    told = json.dumps(_findings({name: value}), ensure_ascii=False)
    told = told.replace(f'"pointer": "/{name}/{SECRET}"', "")
    assert SECRET not in told
    assert "zq9" not in told
    assert "9000009" not in told.replace(".", "")


def _findings(value: Any) -> list[dict[str, str]]:
    try:
        Everything.model_validate_json(json.dumps(value))
    except ValidationError as error:
        return findings_of(error)
    return []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"text": 7}, ("/text", "string-type", "This must be a string.")),
        ({"text": "a"}, ("/text", "string-too-short", "This must have at least 2 characters.")),
        ({"text": "zz"}, ("/text", "string-pattern-mismatch", "This does not have the form it must have.")),
        ({"whole": "1"}, ("/whole", "int-type", "This must be an integer.")),
        ({"whole": True}, ("/whole", "int-type", "This must be an integer.")),
        ({"whole": 1.0}, ("/whole", "int-type", "This must be an integer.")),
        ({"whole": 10}, ("/whole", "less-than-equal", "This must be at most 9.")),
        ({"above": 1}, ("/above", "greater-than", "This must be greater than 1.")),
        ({"truth": 1}, ("/truth", "bool-type", "This must be true or false.")),
        ({"truth": "true"}, ("/truth", "bool-type", "This must be true or false.")),
        ({"id": "x"}, ("/id", "uuid-parsing", "This must be a UUID.")),
        ({"when": 5}, ("/when", "datetime-type", "This must be a time as in RFC 3339.")),
        ({"color": "zq9secret"}, ("/color", "enum", "This must be 'red' or 'blue'.")),
        ({"word": 3}, ("/word", "literal-error", "This must be 'yes' or 'no'.")),
        ({"bad": "x"}, ("/bad", "value-error", "This is not acceptable.")),
        ({"worse": "x"}, ("/worse", "assertion-error", "This is not acceptable.")),
        ({"said": "x"}, ("/said", "too-common", "This password is too common.")),
        ({"more": 1}, ("/more", "extra-forbidden", "There is no such field.")),
        ({"many": []}, ("/many", "too-short", "This must have at least 1 item.")),
        ({"many": [{"a/b~c": 1}, {"a/b~c": 0}]}, ("/many/1/a~1b~0c", "greater-than-equal", "This must be at least 1.")),
        ([], ("", "model-type", "This must be an object.")),
    ],
)
def test_a_finding_points_names_and_explains(value: Any, expected: tuple[str, str, str]) -> None:
    (finding,) = _findings(value)
    assert (finding["pointer"], finding["code"], finding["detail"]) == expected


def test_a_name_that_is_none_of_ours_and_too_long_is_not_repeated() -> None:
    (finding,) = _findings({"x" * 65: 1})
    assert finding["pointer"] == ""


def test_there_is_an_end_to_findings() -> None:
    assert len(_findings({f"f{i}": 1 for i in range(1000)})) == MOST_FINDINGS


def test_pointers_of_queries_and_paths_say_where_they_are() -> None:
    assert pointer(("body", "items", 0, "id")) == "/items/0/id"
    assert pointer(("query", "limit")) == "/query/limit"
    assert pointer(("path", "order_id")) == "/path/order_id"
    assert pointer(()) == ""
