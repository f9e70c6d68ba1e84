"""What is JSON here and what is not, told in bodies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.schemas.strict_json import MalformedJson, check_json

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
    "as deep as allowed and wide": b"[" * 32 + b"1" + b"]" * 31 + b", [], []]",
    "many flat objects": b"[" + b",".join([b"{}"] * 100) + b"]",
    "as many parts as allowed": b"[" + b",".join([b"1"] * 1_000) + b"]",
    "as many parts as allowed, with members": b"{" + b",".join(b'"%d":1' % each for each in range(1_000)) + b"}",
    "commas and brackets in strings": b'["' + b"[,{" * 1_000 + b'", "' + b'\\",[' * 1_000 + b'\\\\", ",[{"]',
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
    "more parts than allowed": b"[" + b",".join([b"1"] * 1_001) + b"]",
    "more parts than allowed, with members": b"{" + b",".join(b'"%d":1' % each for each in range(1_001)) + b"}",
    "more empty parts than allowed": b"[" + b",".join([b"{}"] * 501) + b"]",
    "more parts than allowed behind strings": b'["\\\\", "\\"", ' + b",".join([b'",["'] * 1_001) + b"]",
    "parts behind a string that does not end": b'["' + b'\\",[' * 100_000 + b"\\",
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
def test_strict_json_is_let_through(body: bytes) -> None:
    check_json(body)


@pytest.mark.parametrize("body", NOT_STRICT.values(), ids=NOT_STRICT.keys())
def test_anything_else_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson):
        check_json(body)


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
    except MalformedJson:
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
