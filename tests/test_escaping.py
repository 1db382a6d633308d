"""Names reach a terminal as visible characters, in any encoding, and JSON loses nothing."""

from __future__ import annotations

import io
import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from var_plugin.errors import MediaNotFoundError
from var_plugin.escaping import SafeStream, json_printable, printable

ENCODINGS = ["utf-8", "ascii", "latin-1", "cp1252", "utf-16", "koi8-r"]
_BYTES = st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
# Any characters, and the surrogates that stand for bytes which are not UTF-8.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | _BYTES, max_size=60)
INVISIBLE = {"Cc", "Cs", "Zl", "Zp"}


def test_terminal_control_characters_are_escaped() -> None:
    assert printable("a\x1b[2J\x1b]0;owned\x07b") == r"a\x1b[2J\x1b]0;owned\x07b"
    assert printable("x\nstored  bank.mp4\r\t") == r"x\nstored  bank.mp4\r\t"
    assert printable("\x9b31m \x7f \u2028 \u202egpj.exe \ufeff") == r"\u009b31m \x7f \u2028 \u202egpj.exe \ufeff"
    assert printable("caf\udce9.mp4") == r"caf\xe9.mp4", "a byte of a name that is not UTF-8"
    assert printable("tag \U000e0041") == r"tag \U000e0041"


@pytest.mark.parametrize(
    "name", ["Zürich 北门 🎥.mp4", "می‌خواهم.mp4", "👩‍🚒", "1.00.00\u202fPM", "a\u00a0b", "C:\\x1b"]
)
def test_ordinary_names_are_not_escaped(name: str) -> None:
    assert printable(name) == name


def test_an_error_holds_no_control_characters() -> None:
    error = str(MediaNotFoundError("a\x1b[2J\u202e\nb does not exist", why="\x9b1m"))
    assert error == r"a\x1b[2J\u202e b does not exist: \u009b1m"


@given(ANY_TEXT, st.sampled_from(ENCODINGS))
@example("café\udce9 ▁▂▃▄▅▆▇█ …\x1b[2J\u2028", "ascii")
def test_any_name_is_printed_in_any_encoding(name: str, encoding: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="")
    print(name, file=SafeStream(stream))  # type: ignore[arg-type]
    print(printable(name), file=SafeStream(stream))  # type: ignore[arg-type]
    stream.flush()
    written = raw.getvalue().decode(encoding).removesuffix("\n")
    assert all(unicodedata.category(letter) not in INVISIBLE or letter in "\n\r\t" for letter in written)
    assert "\n" not in written.splitlines()[-1]


@given(st.dictionaries(ANY_TEXT, ANY_TEXT), st.sampled_from(ENCODINGS))
@example({"path": "caf\udce9\x1b\x9b\u202e\U000e0041.mp4"}, "latin-1")
def test_json_is_lossless_and_harmless_in_any_encoding(document: dict[str, str], encoding: str) -> None:
    text = json_printable(json.dumps(document, ensure_ascii=False, indent=2), encoding)
    assert json.loads(text.encode(encoding, "strict").decode(encoding)) == document
    assert all(unicodedata.category(letter) not in INVISIBLE or letter == "\n" for letter in text)


def test_levels_of_a_curve_have_a_form_for_every_encoding() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    SafeStream(stream).write("▁▂▃▄▅▆▇█ …")
    stream.flush()
    assert raw.getvalue() == b".:-=+*%# ..."


def test_a_progress_bar_can_return_to_its_line() -> None:
    stream = io.StringIO()
    SafeStream(stream).write("\r 50 %\x1b[A")
    assert stream.getvalue() == "\r 50 %\x1b[A"
