"""Errors of the package: what happened, why, and what to do.

Catch a family, such as `MediaError`, or a single class. The command line prints an error in one line and exits with the
code of its family:

| code | family | errors |
|---|---|---|
| 1 | `VarPluginError` | unexpected errors, and several files that failed for reasons of different families |
| 2 | `QueryError` | wrong arguments, queries and filters; unknown videos |
| 3 | `MediaError` | footage, images and audio that are missing, broken, too large or changed |
| 4 | `IndexStoreError` | the index cannot be opened, read or written, or has another suite |
| 5 | `ModelError` | unknown suites, missing weights |
| 6 | `ConfigError` | settings, missing or broken Python packages |
| 7 | `ServiceError` | a Ray cluster, a language model or an embedding server does not work |

Ctrl-C exits with 130. The receipt of a file names the class of its error.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from var_plugin.escaping import printable

INTERNAL_ERROR_FIX = "run var-plugin doctor; if it reports no problem, report this error: the file is not its cause"
"""What to do about an exception that decoding does not raise on purpose."""
_FULL_STOP = re.compile(r"(?<=[^\s/.])\.$")
"""The full stop of a sentence, and not the end of a path such as `..`."""


class VarPluginError(Exception):
    """Base class of all errors.

    Args:
        what: What happened.
        why: The reason.
        fix: What to do.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        self.what, self.why, self.fix = what, why, fix
        super().__init__(what, why, fix)

    def __str__(self) -> str:
        # The command line and the logs rely on one line of visible characters.
        what, why, fix = (
            _FULL_STOP.sub("", printable(" ".join(part.split()))) for part in (self.what, self.why, self.fix)
        )
        return what + (f": {why}" if why else "") + (f"; {fix}" if fix else "")


@contextmanager
def exit_on_error(program: str) -> Iterator[None]:
    """Exit with one line on stderr and the exit code of the error if the block raises a `VarPluginError`."""
    try:
        yield
    except VarPluginError as error:
        sys.stderr.write(f"{program}: {error}\n")
        sys.exit(error.exit_code)


def os_error_message(error: Exception) -> str:
    """Return the message of an error without the error number and the path of an OSError."""
    return getattr(error, "strerror", None) or str(error)


class FieldError(NamedTuple):
    """A validation error of one value."""

    place: str
    """Path of the value, such as `filter.cameras.0`. Empty for the whole input."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class _Validation(Protocol):
    def errors(self) -> Sequence[Mapping[str, Any]]: ...


def field_errors(error: _Validation, *, inside: int = 0) -> list[FieldError]:
    """Return the errors of a pydantic `ValidationError`, at least one.

    Args:
        error: The error.
        inside: Number of leading parts to remove from each path.
    """
    return [
        FieldError(".".join(map(str, part["loc"][inside:])), part["msg"].removeprefix("Value error, "))
        for part in error.errors()
    ]


class QueryError(VarPluginError):
    """The arguments, the query or the filter are invalid."""

    exit_code = 2


class InvalidInputError(QueryError):
    """An argument is invalid."""


class UnsupportedModalityError(QueryError):
    """The suite or the space has no encoder for this modality."""


class UnknownVideoError(QueryError):
    """The index holds no video of that ID."""


class MediaError(VarPluginError):
    """Footage, an image or audio cannot be used."""

    exit_code = 3


class MediaNotFoundError(MediaError):
    """The file or folder does not exist."""


class NoVideosFoundError(MediaError):
    """The folder holds no file with the extension of a video."""


class EmptyMediaError(MediaError):
    """The file is empty."""


class UnreadableMediaError(MediaError):
    """The file is not audio or video, or nothing in it can be decoded."""


class TruncatedMediaError(MediaError):
    """The video ends before the end that its header declares."""


class NoVideoStreamError(MediaError):
    """The file has no video stream."""


class NoAudioStreamError(MediaError):
    """The file has no audio stream."""


class TooManyPixelsError(MediaError):
    """Frames or images are larger than the limit."""


class TooManyFramesError(MediaError):
    """A video has more frames than the limit."""


class TooLongMediaError(MediaError):
    """A video or an audio track is longer than the limit."""


class TooManyStreamsError(MediaError):
    """A file has more streams than the limit."""


class DecodingTimeoutError(MediaError):
    """Decoding exceeded the time limit and was stopped."""


class DecodingMemoryError(MediaError):
    """Decoding exceeded the memory limit."""


class DecoderCrashedError(MediaError):
    """The decoding process ended without a reply. This process and the index are not affected."""


class BrokenTimestampsError(MediaError):
    """The timestamps of a video jump back, so that positions in it are ambiguous."""


class PlaylistError(MediaError):
    """The file only refers to other files or addresses. None of them is opened."""


class ChangedMediaError(MediaError):
    """The content of the file differs from the indexed footage, or it changed during indexing."""


class IndexStoreError(VarPluginError):
    """The index cannot be used."""

    exit_code = 4


class IndexUnavailableError(IndexStoreError):
    """The index cannot be opened: a wrong path or URI, a locked database, a server that does not answer."""


class FingerprintMismatchError(IndexStoreError):
    """The index was made by another suite, or by another version of the suite."""


class StoreError(IndexStoreError):
    """The vector store rejected an operation, or does not hold what was written."""


class InvalidVectorError(IndexStoreError):
    """An encoder returned a vector that must not be stored: not finite, wrong dimension or wrong norm."""


class ModelError(VarPluginError):
    """A suite or its weights cannot be loaded."""

    exit_code = 5


class UnknownSuiteError(ModelError):
    """No suite of that name is registered."""


class MissingWeightsError(ModelError):
    """A weight file is missing or does not have the pinned checksum."""


class ConfigError(VarPluginError):
    """The settings or the installed packages are wrong."""

    exit_code = 6


class InvalidSettingError(ConfigError):
    """An environment variable has an invalid value."""


class MissingDependencyError(ConfigError):
    """An optional package is not installed. The message holds the install command."""


class BrokenInstallationError(ConfigError):
    """The installed packages do not work together. The message holds the repair command."""


class ServiceError(VarPluginError):
    """A service that var-plugin uses does not work."""

    exit_code = 7


class EngineError(ServiceError):
    """The Ray cluster is not usable, or it lost a part of the work."""


class AssistantError(ServiceError):
    """The language model did not answer, or did not call the search."""


class EmbeddingServerError(ServiceError):
    """The server of a remote suite does not answer, refuses, has another model, or sends unusable vectors."""


def error_classes() -> list[type[VarPluginError]]:
    """Return the classes directly below the families, without the families themselves."""
    return [kind for family in VarPluginError.__subclasses__() for kind in family.__subclasses__()]
