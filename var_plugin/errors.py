"""Every error the package raises on purpose: what happened, why, and what to do about it.

The command line prints ``str(error)`` on one line and exits with ``error.exit_code``, so that scripts can tell the
failures apart. Codes 0 to 2 keep their usual meaning (done, several different failures, wrong usage).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from var_plugin.escaping import printable


class VarPluginError(Exception):
    """Base class: one sentence for what happened, one for why, one for what to do."""

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what, why, fix)

    def __str__(self) -> str:
        # One line of visible characters, whatever a file name or a library's message held: the command line and the
        # logs rely on it.
        what, why, fix = (printable(" ".join(part.split())).rstrip(".") for part in (self.what, self.why, self.fix))
        return what + (f": {why}" if why else "") + (f"; {fix}" if fix else "")


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """End the program with one line on stderr, and the exit code of its kind, where a known error comes up."""
    try:
        yield
    except VarPluginError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(error.exit_code)


def os_error_message(error: Exception) -> str:
    """Return what a library says went wrong, without its number for it and the path, which our message names."""
    return getattr(error, "strerror", None) or str(error)


class FieldError(NamedTuple):
    """What a validator says of one value."""

    place: str
    """Where the value stands, such as `filter.cameras.0`; empty: nowhere in particular."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class _Validation(Protocol):
    def errors(self) -> Sequence[Mapping[str, Any]]: ...


def field_errors(error: _Validation, *, inside: int = 0) -> list[FieldError]:
    """Return what pydantic refuses, at least one thing; `inside`: so many first steps of each place are left out."""
    return [
        FieldError(".".join(map(str, part["loc"][inside:])), part["msg"].removeprefix("Value error, "))
        for part in error.errors()
    ]


class InvalidInputError(VarPluginError):
    """An argument or a query is not what the function takes."""

    exit_code = 2


class MediaNotFoundError(VarPluginError):
    """No file or folder is there."""

    exit_code = 3


class EmptyMediaError(VarPluginError):
    """The file holds no bytes."""

    exit_code = 4


class UnreadableMediaError(VarPluginError):
    """The file is not audio or video, or nothing in it can be decoded."""

    exit_code = 5


class TruncatedMediaError(VarPluginError):
    """The video stops before the end that its header declares."""

    exit_code = 6


class NoVideoStreamError(VarPluginError):
    """The file has sound, but no moving images."""

    exit_code = 7


class NoAudioStreamError(VarPluginError):
    """The file has images, but no sound."""

    exit_code = 8


class NoVideosFoundError(VarPluginError):
    """The folder holds no file with a video ending."""

    exit_code = 9


class IndexUnavailableError(VarPluginError):
    """The index cannot be opened: a bad path or URI, a locked database, a server that does not answer."""

    exit_code = 10


class FingerprintMismatchError(VarPluginError):
    """The index was made by another suite, or by another version of the same suite."""

    exit_code = 11


class StoreError(VarPluginError):
    """The vector store refused an operation, or holds something else than what was written."""

    exit_code = 12


class InvalidVectorError(VarPluginError):
    """An encoder produced a vector that must not be stored: not finite, wrong dimension, wrong norm."""

    exit_code = 13


class UnknownSuiteError(VarPluginError):
    """No suite of that name is registered."""

    exit_code = 14


class UnsupportedModalityError(VarPluginError):
    """The suite, or the space asked for, has no encoder for this modality."""

    exit_code = 15


class MissingWeightsError(VarPluginError):
    """A weights file is missing or is not the one that was pinned."""

    exit_code = 16


class MissingDependencyError(VarPluginError):
    """An optional package is needed and absent; the message holds the command that installs it."""

    exit_code = 17


class UnknownVideoError(VarPluginError):
    """The index holds no video of that id."""

    exit_code = 18


class BrokenInstallationError(VarPluginError):
    """The installed packages do not work together; the message holds the command that mends them."""

    exit_code = 19


class TooManyPixelsError(VarPluginError):
    """The images of a video are larger than the limit."""

    exit_code = 20


class TooManyFramesError(VarPluginError):
    """A video holds more frames than the limit."""

    exit_code = 21


class TooLongMediaError(VarPluginError):
    """A video or a sound goes on for longer than the limit."""

    exit_code = 22


class TooManyStreamsError(VarPluginError):
    """A file holds more streams than the limit."""

    exit_code = 23


class DecodingTimeoutError(VarPluginError):
    """Decoding took longer than the limit and was killed."""

    exit_code = 24


class DecodingMemoryError(VarPluginError):
    """Decoding needed more memory than the limit."""

    exit_code = 25


class DecoderCrashedError(VarPluginError):
    """The process that decodes ended without an answer; this process and the index are unharmed."""

    exit_code = 26


class BrokenTimestampsError(VarPluginError):
    """The frames of a video jump back in time, so that no moment in it has one time."""

    exit_code = 27


class PlaylistError(VarPluginError):
    """The file only lists other files or addresses; none of them is opened."""

    exit_code = 28


class AssistantError(VarPluginError):
    """The language model did not answer, or did not search."""

    exit_code = 29


class EngineError(VarPluginError):
    """What spreads the work over processes cannot be used, or lost a part of the work for good."""

    exit_code = 30


class ChangedMediaError(VarPluginError):
    """The file holds other footage than was indexed, or changed while it was indexed."""

    exit_code = 31
