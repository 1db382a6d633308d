"""What does the work of adding files: this process, or a cluster (`ray_engine`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from var_plugin.errors import VarPluginError
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.file import Footage, keep
from var_plugin.ingest.rows import embed
from var_plugin.ingest.video import Progress, failure
from var_plugin.types import VideoReceipt


class Engine(Protocol):
    """Adds files to an index and says what became of each."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None
    ) -> Iterator[tuple[int, VideoReceipt]]:
        """Yield the line of each file when it is done, with its place in `found`; lines in there are passed on."""
        ...


class Here:
    """This process does it, one file after another; an `Engine`."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None
    ) -> Iterator[tuple[int, VideoReceipt]]:
        """Yield the lines in order."""
        for number, footage in enumerate(found):
            yield number, footage if isinstance(footage, VideoReceipt) else _add_file(index, footage, progress)


def _add_file(index: VideoIndex, footage: Footage, progress: Progress | None) -> VideoReceipt:
    path = footage.path
    told = (lambda reached: progress(path, reached)) if progress else None
    try:
        return keep(index, footage, footage.look(), lambda: embed(path, index.suite, told))
    except VarPluginError as error:
        return failure(path, error)
