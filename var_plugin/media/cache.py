"""Cache folder for thumbnails and clips, with a quota.

The page, the HTTP server and the tools share one folder with one subfolder per video. When the files exceed the quota,
the least recently used ones are deleted. They can be created again from the footage.
"""

from __future__ import annotations

import os
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from var_plugin.config import IndexOptions
from var_plugin.private_files import delete_inside, make_private_folder, mark_folder

_FILL_AFTER_TRIM = 0.9
# Other processes also write. The folder is measured again after this share of the free bytes is used.
_UNMEASURED_SHARE = 0.25
_ABANDONED_SECONDS = 3600.0


class _File(NamedTuple):
    last_used: float
    size: int
    path: Path


class MediaCache:
    """Cache of files made from footage, of at most `max_bytes` in total.

    Args:
        folder: folder with one subfolder per video.
        max_bytes: quota for the files of all videos. The newest file is kept even if it is larger.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._unmeasured = 0
        self._room: float | None = None

    def video_folder(self, video_id: str) -> Path:
        """Return the folder for the files of one video. `delete_video` deletes it."""
        return self.folder / video_id

    def delete_video(self, video_id: str) -> None:
        """Delete the files of one video. Nothing outside the cache is deleted, whatever the id."""
        delete_inside(self.folder, video_id)

    def use(self, path: Path) -> bool:
        """Mark a file as just used. Return whether it exists."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def add(self, path: Path) -> None:
        """Add a new file. Delete the least recently used files if the quota is exceeded."""
        make_private_folder(self.folder)
        mark_folder(self.folder)
        size = path.stat().st_size
        with self._lock:
            self._unmeasured += size
            if self._room is None or self._unmeasured > self._room:
                total = self._trim(path)
                self._unmeasured, self._room = 0, (self._max_bytes - total) * _UNMEASURED_SHARE

    def _trim(self, newest: Path) -> int:
        """Delete files until the rest fits the quota. Return the remaining bytes."""
        files = self._files()
        total = sum(file.size for file in files)
        if total <= self._max_bytes:
            return total
        for file in sorted(files):
            if total <= self._max_bytes * _FILL_AFTER_TRIM:
                break
            if file.path != newest:
                file.path.unlink(missing_ok=True)
                total -= file.size
        return total

    def _files(self) -> list[_File]:
        files = []
        now = time.time()
        for folder in self.folder.iterdir():
            if folder.is_symlink() or not folder.is_dir():
                continue
            for path in folder.iterdir():
                try:
                    status = path.lstat()
                    if path.name.startswith(".") and now - status.st_mtime > _ABANDONED_SECONDS:
                        path.unlink()  # left by a process that was killed
                        continue
                except FileNotFoundError:  # deleted by another process
                    continue
                files.append(_File(status.st_mtime, status.st_size, path))
        return files


def media_cache(options: IndexOptions) -> MediaCache:
    """Return the cache of the options `cache` and `cache_bytes`."""
    return _media_cache(options.cache / "thumbnails", options.cache_bytes)


@lru_cache(maxsize=8)
def _media_cache(folder: Path, max_bytes: int) -> MediaCache:
    return MediaCache(folder, max_bytes)
