"""The strict edge, told in bodies: what is JSON here and what is not, and how much of a body is read."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from api.errors import Problem
from api.guard import (
    FORM_BODY,
    JSON_BODY,
    NOTHING,
    BodyPolicy,
    ClientGone,
    check_head,
    check_json,
    counted,
    drained,
    read_body,
)

pytestmark = pytest.mark.anyio

NESTED = "[" * 32 + "]" * 32

STRICT = {
    "an object": b'{"a": 1, "b": [1, 2.5, null, true, "x"]}',
    "a number": b"7",
    "the smallest integer of 64 bit": b"[-9223372036854775808]",
    "the largest integer of 64 bit": b"[18446744073709551615]",
    "long digits in a string": b'["123456789012345678901234567890"]',
    "colons in strings": b'{"at": "2026-11-22T01:02:03Z", "url": "https://example.org:8080/"}',
    "an escape": b'{"name": "\\u00e9"}',
    "a pair of surrogates": b'["\\ud83d\\ude00"]',
    "an escaped backslash before u0000": b'["\\\\u0000"]',
    "the same key in two objects": b'[{"a": 1}, {"a": 1}]',
    "as deep as allowed": NESTED.encode(),
    "many flat objects": b"[" + b",".join([b"{}"] * 100) + b"]",
    "a long fraction": b"[0.1234567890123456789012345]",
    "UTF-8": '["ünïcödé 😀"]'.encode(),
}

NOT_STRICT = {
    "nothing": b"",
    "not JSON": b"{",
    "single quotes": b"{'a': 1}",
    "a trailing comma": b'{"a": 1,}',
    "a comment": b'{"a": 1} // b',
    "trailing garbage": b'{"a": 1} x',
    "two documents": b'{"a": 1}{"a": 1}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": -Infinity}',
    "a number beyond a double": b'{"a": 1e400}',
    "a duplicate key": b'{"a": 1, "a": 2}',
    "a duplicate key with the same value": b'{"a": 1, "a": 1}',
    "a duplicate key below": b'{"x": [{"a": 1, "a": 2}]}',
    "a duplicate key spelled with an escape": b'{"a": 1, "\\u0061": 2}',
    "a duplicate key hidden by an escaped colon": b'{"a": 1, "a": 2, "b": "\\u003a"}',
    "a duplicate key hidden by colons in strings": b'{"a": ":", "a": "::"}',
    "a lone high surrogate": b'["\\ud800"]',
    "a lone low surrogate": b'["\\udc00"]',
    "surrogates the wrong way round": b'["\\udc00\\ud800"]',
    "a lone surrogate as a key": b'{"\\ud800": 1}',
    "an escaped NUL": b'["a\\u0000b"]',
    "an escaped NUL in a key": b'{"\\u0000": 1}',
    "a raw NUL": b'["\x00"]',
    "a raw line end in a string": b'["a\nb"]',
    "too deep": ("[" + NESTED + "]").encode(),
    "too deep with something in it": b"[" * 33 + b"1" + b"]" * 33,
    "objects too deep": b'{"a":' * 33 + b"1" + b"}" * 33,
    "absurdly deep": b"[" * 100_000 + b"]" * 100_000,
    "an integer beyond 64 bit": b'{"a": 18446744073709551616}',
    "a negative integer beyond 64 bit": b'{"a": -9223372036854775809}',
    "an absurd integer": b"[" + b"9" * 5000 + b"]",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a": 1}'.encode("utf-16-le"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "Latin-1": '["ü"]'.encode("latin-1"),
    "an overlong encoding": b'["\xc0\xaf"]',
    "a surrogate in UTF-8": b'["\xed\xa0\x80"]',
}


@pytest.mark.parametrize("body", STRICT.values(), ids=STRICT.keys())
async def test_strict_json_is_let_through(body: bytes) -> None:
    check_json(body)


@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT.keys())
async def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        check_json(body)
    assert refused.value.code == "malformed-json"


KEYS = st.text("ab:\\u003\0é", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text("a:\\u0\0{", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=3).map(tuple),
    max_leaves=8,
)


@given(VALUES, st.booleans())
def test_the_quick_check_and_a_literal_reading_agree(value: object, ascii_only: bool) -> None:
    body = _written(value, ascii_only=ascii_only).encode()
    try:
        check_json(body)
        let_through = True
    except Problem:
        let_through = False
    assert let_through == _is_strict(value)


def _written(value: object, *, ascii_only: bool) -> str:
    """JSON in which a tuple is an object, whose keys may come twice."""
    if isinstance(value, tuple):
        members = [f"{json.dumps(k, ensure_ascii=ascii_only)}:{_written(v, ascii_only=ascii_only)}" for k, v in value]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(v, ascii_only=ascii_only) for v in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def _is_strict(value: object) -> bool:
    match value:
        case tuple():
            keys = [key for key, _ in value]
            return len(set(keys)) == len(keys) and all(_is_strict(k) and _is_strict(v) for k, v in value)
        case list():
            return all(_is_strict(v) for v in value)
        case str():
            return "\0" not in value
        case int():
            return -(2**63) <= value < 2**64
    return True


def receiving(*parts: bytes, ends: bool = True, hangs_up: bool = False) -> Receive:
    """Gives the parts one by one; then it is over, or never is, or the client hangs up."""
    left = list(parts)

    async def receive() -> Message:
        await asyncio.sleep(0)
        if left:
            part = left.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(left) or not ends}
        if hangs_up:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    return receive


LENGTH = {b"content-type": b"application/json", b"content-length": b"2"}
CHUNKED = {b"content-type": b"application/json", b"transfer-encoding": b"chunked"}
SMALL = BodyPolicy(media=JSON_BODY.media, limit=10, seconds=0.05)


async def test_a_body_is_read_in_all_its_parts() -> None:
    assert await read_body(CHUNKED, receiving(b"[", b"1", b"]"), SMALL) == b"[1]"


async def test_a_request_without_a_body_is_not_read() -> None:
    assert await read_body({b"content-length": b"0"}, receiving(ends=False), SMALL) == b""


@pytest.mark.parametrize("parts", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x" * 5, b"x" * 5, b"x")])
async def test_bytes_are_counted_whatever_the_length_says(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(Problem) as refused:
        await read_body(LENGTH, receiving(*parts), SMALL)
    assert refused.value.code == "content-too-large"


async def test_an_endless_body_is_given_up_at_the_limit() -> None:
    async def endless() -> Message:
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(Problem) as refused:
        await read_body(CHUNKED, endless, SMALL)
    assert refused.value.code == "content-too-large"


async def test_a_length_beyond_the_limit_is_refused_unread() -> None:
    with pytest.raises(Problem) as refused:
        await read_body({**LENGTH, b"content-length": b"11"}, receiving(ends=False), SMALL)
    assert refused.value.code == "content-too-large"


@pytest.mark.parametrize("parts", [(), (b"[",)])
async def test_a_body_that_does_not_come_is_a_timeout(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(Problem) as refused:
        await read_body(CHUNKED, receiving(*parts, ends=False), SMALL)
    assert refused.value.code == "request-timeout"


async def test_a_client_that_hangs_up_is_no_error_of_ours() -> None:
    with pytest.raises(ClientGone):
        await read_body(CHUNKED, receiving(b"[", ends=False, hangs_up=True), SMALL)


async def test_a_cancelled_reader_is_cancelled_and_not_timed_out() -> None:
    reading = asyncio.create_task(read_body(CHUNKED, receiving(ends=False), JSON_BODY))
    await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize(
    "media",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; profile=x; charset=utf-8",
    ],
)
async def test_json_in_utf_8_is_taken_however_it_is_spelled(media: str) -> None:
    check_head({b"content-length": b"2", b"content-type": media.encode()}, JSON_BODY)


@pytest.mark.parametrize(
    "media",
    [
        "",
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json;charset=latin-1",
        "application/json; charset=utf-8; charset=utf-7",
        "application/jsonp",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "text/plain, application/json",
    ],
)
async def test_other_media_types_are_refused(media: str) -> None:
    with pytest.raises(Problem) as refused:
        check_head({b"content-length": b"2", b"content-type": media.encode()}, JSON_BODY)
    assert refused.value.code == "unsupported-media-type"


async def test_json_is_no_form() -> None:
    with pytest.raises(Problem) as refused:
        check_head(LENGTH, FORM_BODY)
    assert refused.value.code == "unsupported-media-type"


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate", b"gzip, identity", b"x"])
async def test_encoded_bodies_are_refused(encoding: bytes) -> None:
    with pytest.raises(Problem) as refused:
        check_head({**LENGTH, b"content-encoding": encoding}, JSON_BODY)
    assert refused.value.code == "unsupported-media-type"


async def test_a_body_where_none_belongs_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        check_head(LENGTH, NOTHING)
    assert refused.value.code == "unexpected-body"


async def test_an_upload_is_counted_as_it_is_read() -> None:
    receive = counted(receiving(b"x" * 6, b"x" * 5), SMALL)
    assert (await receive())["body"] == b"x" * 6
    with pytest.raises(Problem) as refused:
        await receive()
    assert refused.value.code == "content-too-large"


async def test_an_upload_may_not_pause_for_long() -> None:
    receive = counted(receiving(b"x", ends=False), SMALL)
    await receive()
    with pytest.raises(Problem) as refused:
        await receive()
    assert refused.value.code == "request-timeout"


async def test_a_refused_body_is_read_away_so_that_the_answer_is_seen() -> None:
    assert await drained(CHUNKED, receiving(b"x" * 100_000, b"x" * 100_000))


@pytest.mark.parametrize(
    "headers", [{**LENGTH, b"content-length": b"99999999"}, {**CHUNKED, b"expect": b"100-continue"}]
)
async def test_what_is_too_much_is_not_read_away(headers: dict[bytes, bytes]) -> None:
    assert not await drained(headers, receiving(ends=False))


async def test_a_client_that_is_gone_needs_no_reading() -> None:
    assert not await drained(CHUNKED, receiving(b"x", ends=False, hangs_up=True))
