r"""Escape untrusted text for terminals: control characters become visible, unencodable characters are replaced.

File names, camera names and messages of decoders are untrusted. They may hold an escape sequence that clears the
screen, a newline that forges a line of output, or bytes that are not UTF-8.
"""

from __future__ import annotations

import codecs
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (with bidirectional overrides), surrogate, line and paragraph separator."""
_JOINERS = "\u200c\u200d"
"""Format characters that Persian, Hindi and emoji need. They do not move the cursor."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CURSOR_UP = "\x1b[A"
"""Written by multi-line progress bars."""
# ASCII replacements for characters of our own output. The first eight are the levels of an anomaly curve.
_ASCII = dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True)) | {"…": "...", "×": "x", "–": "-", "“": '"', "”": '"'}
_ERROR_HANDLER = "var_plugin.replace_unencodable"


def printable(text: str) -> str:
    r"""Escape every character that a terminal would interpret or hide.

    Escaped are control characters (also of the C1 range), newlines, line separators, bidirectional overrides and lone
    surrogates. A byte of a file name that is not UTF-8 appears as that byte: `caf\xe9.mp4`.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def json_printable(document: str, encoding: str) -> str:
    r"""Escape a JSON document for a terminal without changing its content.

    Characters that a terminal would interpret, and those that the encoding lacks, become `\uXXXX`.

    Args:
        document: Output of `json.dumps`.
        encoding: Encoding of the output stream.
    """

    def escape(match: re.Match[str]) -> str:
        letter = match[0]
        if _escape(letter) == letter and _encodable(letter, encoding):
            return letter
        units = letter.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))

    return re.sub(r"[^\x20-\x7e\n]", escape, document)


class SafeStream:
    """A text stream that escapes control characters and characters that its encoding lacks.

    Newlines, tabs, carriage returns and the cursor-up sequence of progress bars pass through.

    Args:
        stream: Standard output or standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text. Return its length."""
        if not text.isprintable():
            parts = text.split(_CURSOR_UP)
            text = _CURSOR_UP.join("".join(c if c in _SHORT else _escape(c) for c in part) for part in parts)
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text if text.isascii() else text.encode(encoding, _ERROR_HANDLER).decode(encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write the lines one after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Replace standard output and standard error by safe streams in a `with` block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, SafeStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _escape(letter: str) -> str:
    if letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) not in _INVISIBLE:
        return letter
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return _SHORT.get(letter, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _encodable(letter: str, encoding: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = (
        _ASCII.get(letter) or letter.encode("ascii", "backslashreplace").decode("ascii")
        for letter in error.object[error.start : error.end]
    )
    return "".join(letters), error.end


codecs.register_error(_ERROR_HANDLER, _replace_unencodable)
