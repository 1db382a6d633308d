"""What does the work of adding files: this process, or a cluster (`ray_engine`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Protocol

from var_plugin.encoders.video import Grid, Runs
from var_plugin.errors import VarPluginError
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.file import Footage, Look, is_done, keep
from var_plugin.ingest.rows import Embedded, Streams, embed
from var_plugin.ingest.video import Progress, failure, settings_fingerprint
from var_plugin.types import VideoReceipt


class Engine(Protocol):
    """Adds files to an index and says what became of each."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None
    ) -> Iterator[tuple[int, VideoReceipt]]:
        """Yield the line of each file when it is done, with its place in `found`; lines in there are passed on."""
        ...


class Here:
    """This process does it, one file after another; an `Engine`. While one is stored, the next one is begun."""

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None
    ) -> Iterator[tuple[int, VideoReceipt]]:
        """Yield the lines in order."""
        with closing(_Ahead(index)) as ahead:
            for number, (footage, following) in enumerate(pairwise(chain(found, [None]))):
                if isinstance(footage, Footage):
                    yield number, _add_file(index, footage, following, ahead, progress)
                elif footage is not None:
                    yield number, footage


def _add_file(
    index: VideoIndex,
    footage: Footage,
    following: Footage | VideoReceipt | None,
    ahead: _Ahead,
    progress: Progress | None,
) -> VideoReceipt:
    path = footage.path
    told = (lambda reached: progress(path, reached)) if progress else None
    try:
        with closing(ahead.take(footage)) as begun:

            def embedded() -> Embedded:
                made = embed(path, index.suite, told, begun.runs)
                if isinstance(following, Footage):
                    ahead.begin(following)
                return made

            return keep(index, footage, begun.look, embedded)
    except VarPluginError as error:
        return failure(path, error)


@dataclass(frozen=True)
class _Begun:
    """A file that was looked at; `runs` are being decoded, where that was begun."""

    look: Look
    runs: Runs | None = None

    def close(self) -> None:
        if self.runs:
            self.runs.close()


class _Ahead:
    """Begins the next file in a thread: looks at it and, unless it is in the index, decodes its first frames."""

    def __init__(self, index: VideoIndex) -> None:
        self._index = index
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._waiting: tuple[Footage, Future[_Begun]] | None = None

    def begin(self, footage: Footage) -> None:
        """Begin a file."""
        self._waiting = footage, self._thread.submit(self._begun, footage, self._grids, self._done)

    def take(self, footage: Footage) -> _Begun:
        """Return what was begun of a file, or look at it now; raises as `Footage.look`."""
        waiting, self._waiting = self._waiting, None
        if waiting and waiting[0] is footage:
            return waiting[1].result()
        return _Begun(footage.look())

    def close(self) -> None:
        """Give up what was begun."""
        self._thread.shutdown(cancel_futures=True)
        if self._waiting and not self._waiting[1].cancelled() and not self._waiting[1].exception():
            self._waiting[1].result().close()

    @cached_property
    def _grids(self) -> list[Grid]:
        return Streams(self._index.suite).grids()

    @cached_property
    def _done(self) -> frozenset[str]:
        how = settings_fingerprint(self._index.suite)
        return frozenset(entry.video_id for entry in self._index.all_entries() if is_done(entry, how))

    @staticmethod
    def _begun(footage: Footage, grids: Sequence[Grid], done: frozenset[str]) -> _Begun:
        look = footage.look()
        if look.video_id in done or not grids:
            return _Begun(look)
        runs = Runs(footage.path, grids[0])
        try:
            runs.begin()
        except VarPluginError:
            return _Begun(look)  # it is met again when its turn comes
        return _Begun(look, runs)
