r"""Text on its way to a terminal: control characters are shown instead of sent, and no encoding ends a command.

File names, camera names and messages of decoders come from outside. A name may hold an escape sequence that clears the
screen, a newline that forges a line of the output, or bytes that are not UTF-8.
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
"""Format characters that ordinary words of Persian, Hindi and emoji need; they move nothing."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CURSOR_UP = "\x1b[A"
"""What a progress bar of several lines writes."""
# Fallbacks for encodings that lack the characters of our own output; the first eight are the levels of a curve.
_PLAIN = dict(zip("▁▂▃▄▅▆▇█", ".:-=+*%#", strict=True)) | {"…": "...", "×": "x", "–": "-", "“": '"', "”": '"'}
_READABLE = "var_plugin.readable"


def printable(text: str) -> str:
    r"""Return the text with every character escaped that a terminal would obey or hide.

    Escaped are control characters (also of the C1 range), newlines, line separators, bidirectional overrides and lone
    surrogates. A byte of a file name that is not UTF-8 appears as that byte: `caf\xe9.mp4`.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def json_printable(document: str, encoding: str) -> str:
    r"""Return a JSON document with the same content that every terminal of this encoding can take.

    Characters that a terminal would obey, and those that the encoding lacks, become JSON's `\uXXXX`.

    Args:
        document: as `json.dumps` writes it.
        encoding: of the stream that the document goes to.
    """

    def escaped(found: re.Match[str]) -> str:
        letter = found[0]
        if _shown(letter) == letter and _encodable(letter, encoding):
            return letter
        units = letter.encode("utf-16-be", "surrogatepass")
        return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))

    return re.sub(r"[^\x20-\x7e\n]", escaped, document)


class SafeStream:
    """A text stream that escapes what a terminal would obey and what its encoding lacks; otherwise the stream itself.

    Line ends, tabs, carriage returns and a progress bar's way to the line above pass.

    Args:
        stream: standard output or standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text; return its length."""
        if not text.isprintable():
            parts = text.split(_CURSOR_UP)
            text = _CURSOR_UP.join("".join(c if c in _SHORT else _shown(c) for c in part) for part in parts)
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text if text.isascii() else text.encode(encoding, _READABLE).decode(encoding))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write the lines one after another."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make standard output and standard error safe streams inside a `with` block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, SafeStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _shown(letter: str) -> str:
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


def _readable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = (
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode("ascii")
        for letter in error.object[error.start : error.end]
    )
    return "".join(replaced), error.end


codecs.register_error(_READABLE, _readable)
