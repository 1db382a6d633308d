"""What does the work of adding files: this process, or a cluster (`ray_engine`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.file import Begun, Footage, begin
from var_plugin.ingest.interruption import held_back, let_through
from var_plugin.ingest.rows import embed
from var_plugin.ingest.video import Progress, attempt
from var_plugin.types import VideoReceipt

Tell = Callable[[int, VideoReceipt], None]
"""Called with the place of a file and its line."""


class Engine(Protocol):
    """Adds files to an index and says what became of each."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None, tell: Tell
    ) -> None:
        """Tell the line of each file when it is done, with its place in `found`; lines in there are passed on."""
        ...


class Here:
    """This process does it: one file after another, and each is stored while the next is looked at; an `Engine`."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None, tell: Tell
    ) -> None:
        """Tell the lines in order. Where Ctrl-C ends it, what is being stored is stored and told."""
        with _Storing(tell) as storing:
            for number, footage in enumerate(found):
                if isinstance(footage, Footage):
                    _add_file(index, number, footage, storing, progress)
                else:
                    storing.tell(number, footage)


def _add_file(index: VideoIndex, number: int, footage: Footage, storing: _Storing, progress: Progress | None) -> None:
    path = footage.path
    told = (lambda reached: progress(path, reached)) if progress else None
    storing.finish(path)
    begun = attempt(path, lambda: begin(index, footage, footage.look(), lambda: embed(path, index.suite, told)))
    if isinstance(begun, Begun):
        storing.store(number, begun)
    else:
        storing.tell(number, begun)


class _Storing:
    """Stores files in a thread, one at a time, and tells their lines in order."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, "storing")
        self._waiting: tuple[int, Path, Future[VideoReceipt]] | None = None

    def finish(self, path: Path) -> None:
        """Be done with a path before it is looked at once more."""
        if self._waiting and self._waiting[1] == path.absolute():
            self._settle()

    def store(self, number: int, begun: Begun) -> None:
        """Store a file when the one before is, and go on meanwhile; from here on Ctrl-C interrupts again."""
        try:
            self._settle()
        except BaseException:
            begun.drop()
            raise
        if begun.concerns_others:
            self._tell(number, attempt(begun.path, begun.store))
        else:
            self._waiting = number, begun.path.absolute(), self._thread.submit(attempt, begun.path, begun.store)
        let_through()

    def tell(self, number: int, line: VideoReceipt) -> None:
        """Tell a line when the ones before are told."""
        self._settle()
        self._tell(number, line)

    def _settle(self) -> None:
        if self._waiting:
            number, _, line = self._waiting
            self._tell(number, line.result())
            self._waiting = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with held_back():
                self._settle()
        finally:  # interrupted nevertheless: what is being stored will be, so it is told
            self._thread.shutdown()
            self._settle()
