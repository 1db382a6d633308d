"""Explain failed file operations, regardless of the library that reports them."""

from __future__ import annotations

import errno
import re
from typing import NamedTuple


class Failure(NamedTuple):
    """The reason of a failure and its remedy."""

    why: str
    fix: str


_NO_SPACE = Failure(
    "no space left on the disk", "free some space and run the same command again; stored videos are not affected"
)
_DENIED = Failure("permission denied", "run it as the owner of the index, or change the permissions of its folder")
_FAILURES = {
    errno.ENOSPC: _NO_SPACE,
    errno.EDQUOT: _NO_SPACE,
    errno.EFBIG: Failure("a file would exceed the size limit", "raise the limit: ulimit -f"),
    errno.EROFS: Failure("the file system is read-only", "copy the index to a writable file system"),
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EIO: Failure("the disk reports an input/output error", "check the disk, then run var-plugin verify"),
    errno.EMFILE: Failure("too many files are open", "raise the limit: ulimit -n"),
    errno.ENFILE: Failure("too many files are open on this machine", "close other programs"),
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
    """Return the explanation of a failed file operation, or None for other errors.

    Errors of Arrow, NumPy and Milvus contain only the text of the system error, which is searched.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        text = str(error).lower()
        numbered = _ERRNO.search(text)
        number = int(numbered[1]) if numbered else next((code for words, code in _TEXTS.items() if words in text), None)
    return _FAILURES.get(number) if number is not None else None
