"""What a failed file operation means and what to do about it, whichever library reports it."""

from __future__ import annotations

import errno
import re
from typing import NamedTuple


class Failure(NamedTuple):
    """Why an operation failed, and what to do."""

    why: str
    fix: str


_NO_SPACE = Failure(
    "no space left on the disk", "free some space and run the same command again; nothing stored is lost"
)
_DENIED = Failure("permission denied", "run it as the user who owns the index, or change the mode of its folder")
_FAILURES = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: Failure("a file would exceed the largest size allowed", "raise the limit: ulimit -f"),
    errno.EROFS: Failure("the file system is read-only", "copy the index to a place that can be written"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EIO: Failure("the disk reports an input/output error", "check the disk, then run var-plugin verify"),
    errno.EMFILE: Failure("too many files are open", "raise the limit: ulimit -n"),
    errno.ENFILE: Failure("too many files are open on this machine", "end other programs"),
}
_TEXTS = {
    "no space left on device": errno.ENOSPC,
    "disk quota exceeded": errno.EDQUOT,
    "file too large": errno.EFBIG,
    "read-only file system": errno.EROFS,
    "permission denied": errno.EACCES,
    "operation not permitted": errno.EPERM,
    "input/output error": errno.EIO,
    "too many open files": errno.EMFILE,
}
_ERRNO = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)


def file_failure(error: BaseException) -> Failure | None:
    """Return what a failed file operation means; None where the error is of another kind.

    Arrow, NumPy and Milvus pass on the text of the system's error only.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        text = str(error).lower()
        numbered = _ERRNO.search(text)
        number = int(numbered[1]) if numbered else next((code for words, code in _TEXTS.items() if words in text), None)
    return _FAILURES.get(number) if number is not None else None
