from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from var_plugin.server.json_body import MAX_DEPTH, MAX_VALUES, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(VALUES, st.booleans())
def test_valid_documents_are_parsed(value: Any, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"a": "b', 400),
        (b'"\\', 400),
        (b"nothing", 400),
        (b"\xff\xfe", 400),
        (b'"\xed\xa0\xbd"', 400),
        (b"[NaN]", 400),
        (b"[-Infinity]", 400),
        (b"[" + b"9" * 4400 + b"]", 400),
        (b"[" * 200_000, 400),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), 400),
        (b"]" * 100, 400),
        (b'["half an emoji \\ud83d"]', 400),
        (b'{"\\uDE00": 1}', 400),
        (b"[" + b"1," * MAX_VALUES + b"1]", 413),
        (b"{" + b",".join(b'"%d":1' % key for key in range(MAX_VALUES + 1)) + b"}", 413),
        (b" " * 100_000 + b"1", 400),
    ],
)
def test_invalid_bodies_are_refused(body: bytes, status: int) -> None:
    with pytest.raises(HTTPException) as raised:
        parse_json(body)
    assert raised.value.status_code == status


def test_complete_surrogate_pairs_are_accepted() -> None:
    assert parse_json(b'["\\ud83d\\ude00", "\\\\ud83d"]') == ["😀", "\\ud83d"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b"A" * 30_000_000 + b'"}',
        b'{"a":"' + b'\\"' * 1_000_000 + b'"}',
        b'{"a":"' + b"\\\\" * 1_000_000 + b'"}',
        b"[" + b"1," * 15_000_000 + b"1]",
        b"[" * 30_000_000,
        b'"",' * 10_000_000,
        b" " * 30_000_000,
    ],
)
def test_large_bodies_are_checked_fast(body: bytes) -> None:
    start = time.process_time()
    try:
        parse_json(body)
    except HTTPException as error:
        assert error.status_code in (400, 413)
    assert time.process_time() - start < 2
