"""What the workers of a Ray cluster do with footage: tasks decode it, actors embed it.

A file becomes rows that flow through the pipeline one by one: a look, runs of frames and windows, an end. The actors
turn runs into vectors and pass everything else on. Each row names its file and each run its place, so that a run which
comes twice, because a worker died and its task was done again, counts once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.sound import HeardRun, SoundRun, Windows, hear_together
from var_plugin.encoders.suite import Suite
from var_plugin.encoders.suites import load_suite
from var_plugin.encoders.video import Grid, ReadRun, Run, Runs, read_together
from var_plugin.errors import EngineError, FingerprintMismatchError, NoAudioStreamError, VarPluginError
from var_plugin.ingest.file import Footage, Look
from var_plugin.ingest.rows import SOUND_IS_BROKEN, Streams, reason, sound_left_out
from var_plugin.ingest.video import failure
from var_plugin.media.guard import decode_audio
from var_plugin.types import VideoReceipt

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
"""Frames, or windows of sound, that go to a network together: memory is theirs to fill."""

Place = tuple[int | str, int]
"""Of a run: the number of its reader or the name of its space, and its number in there."""


@dataclass(frozen=True)
class Cut:
    """A run on its way to an actor."""

    place: Place
    run: Run | SoundRun
    seconds: float
    """What decoding it took."""


@dataclass(frozen=True)
class Read:
    """A run that became vectors."""

    place: Place
    run: ReadRun | HeardRun
    seconds: float
    """What decoding and embedding it took."""


@dataclass(frozen=True)
class End:
    """Everything of a file was sent."""

    runs: int
    """So many; none where the content is in the index already."""
    seen: Sequence[float] = ()
    """Per reader, the end of the last frame in seconds."""
    heard: Mapping[str, int] = field(default_factory=dict)
    """By space, the samples of the sound, where there is any and all of it could be decoded."""
    left_out: str | None = None


Batch = dict[str, NDArray[Any]]
"""Rows by column, as Ray hands several over at once."""


class Row(TypedDict):
    """What Ray moves."""

    number: int
    """Of the file."""
    item: Footage | Look | Cut | Read | End | VideoReceipt


@dataclass(frozen=True)
class Decoder:
    """Looks at files and decodes what a suite reads of them, without the suite itself."""

    grids: Sequence[Grid]
    """Per reader."""
    windows: Mapping[str, tuple[int, int]]
    """By space that hears: samples of a window, and from window to window."""
    done: frozenset[str]
    """Videos that need not be decoded."""

    def __call__(self, row: Row) -> Iterator[Row]:
        """Yield the rows of one file."""
        footage, number = row["item"], row["number"]
        assert isinstance(footage, Footage)  # noqa: S101  (for the type checker)
        try:
            look = footage.look()
            yield Row(number=number, item=look)
            if look.video_id in self.done:
                yield Row(number=number, item=End(0))
                return
            for item in self._decoded(footage.path):
                yield Row(number=number, item=item)
        except Exception as error:  # as `attempt`
            yield Row(number=number, item=failure(footage.path, error))

    def _decoded(self, path: Path) -> Iterator[Cut | End]:
        sent, seen = 0, []
        for reader, grid in enumerate(self.grids):
            runs = Runs(path, grid)
            for cut in _timed(reader, runs):
                yield cut
                sent += 1
            seen.append(runs.end)
        heard: dict[str, int] = {}
        notes: list[str] = []
        for space, (window, hop) in self.windows.items():
            cutter = Windows(decode_audio(path), window, hop)
            try:
                for cut in _timed(space, cutter.runs()):
                    yield cut
                    sent += 1
                heard[space] = cutter.samples
            except NoAudioStreamError:
                continue
            except SOUND_IS_BROKEN as error:
                notes.append(sound_left_out(error))
        yield End(sent, seen, heard, reason(path, notes))


class Embedder:
    """Turns runs into vectors with a suite that it loads by name when the first one comes.

    Runs of the same stream go to the network together, whatever files they are of: short ones would keep a GPU waiting.

    Args:
        suite: its name.
        fingerprint: what the suite's must be.
    """

    def __init__(self, suite: str, fingerprint: str) -> None:
        self._suite, self._fingerprint = suite, fingerprint

    def __call__(self, rows: Batch) -> Batch:
        """Return the rows with vectors in place of frames; others as they are."""
        items = list(rows["item"])
        streams: dict[int | str, list[int]] = {}
        for number, item in enumerate(items):
            if isinstance(item, Cut):
                streams.setdefault(item.place[0], []).append(number)
        for numbers in streams.values():
            for part in _parts(numbers, items):
                for number, read in zip(part, self._read([items[number] for number in part]), strict=True):
                    items[number] = read
        column = np.empty(len(items), object)
        column[:] = items
        return {"number": rows["number"], "item": column}

    def _read(self, cuts: Sequence[Cut]) -> list[Read | VideoReceipt]:
        """Return what becomes of runs of one stream."""
        started = time.perf_counter()
        try:
            runs = self._embedded(cuts)
        except Exception as error:  # whatever it is, it costs its file and not those that came along with it
            if len(cuts) > 1:
                return [read for cut in cuts for read in self._read([cut])]
            if not isinstance(error, VarPluginError):
                logger.exception("an error that nobody foresaw")
                error = EngineError("embedding a part of the file failed", why=f"{type(error).__name__}: {error}")
            # Which file it was, the driver knows.
            return [failure(Path(), error)]
        seconds = (time.perf_counter() - started) / len(cuts)
        return [Read(cut.place, run, cut.seconds + seconds) for cut, run in zip(cuts, runs, strict=True)]

    def _embedded(self, cuts: Sequence[Cut]) -> Sequence[ReadRun | HeardRun]:
        stream, _ = cuts[0].place
        seen = [cut.run for cut in cuts if isinstance(cut.run, Run)]
        if seen:
            return read_together(seen, self._streams.readers[int(stream)])
        heard = [cut.run for cut in cuts if isinstance(cut.run, SoundRun)]
        return hear_together(heard, self._streams.sounds[str(stream)])

    @cached_property
    def _streams(self) -> Streams:
        return Streams(named_suite(self._suite, self._fingerprint))


def _parts(numbers: Sequence[int], items: Sequence[Any]) -> Iterator[list[int]]:
    """Divide rows so that no part holds more frames and windows than `_MOST_AT_ONCE`, or it is a single run."""
    part: list[int] = []
    held = 0
    for number in numbers:
        run = items[number].run
        size = len(run.frames) if isinstance(run, Run) else len(run.samples)
        if part and held + size > _MOST_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(number)
        held += size
    if part:
        yield part


def named_suite(name: str, fingerprint: str) -> Suite:
    """Return the suite of that name and fingerprint.

    Raises:
        FingerprintMismatchError: the one of that name is another; besides the errors of `load_suite`.
    """
    suite = load_suite(name)
    if suite.fingerprint != fingerprint:
        raise FingerprintMismatchError(
            f"'{name}' is another suite in a worker of the cluster ({suite.fingerprint}) than here ({fingerprint})",
            why="a worker loads the suite by its name, from the packages, models and folders of its own machine",
            fix="install the same version of var-plugin, of the models and of the package or folder of the suite "
            "on all machines",
        )
    return suite


def _timed(stream: int | str, runs: Iterable[Run | SoundRun]) -> Iterator[Cut]:
    """Number the runs of a stream, and say what getting each of them took."""
    started = time.perf_counter()
    for number, run in enumerate(runs):
        yield Cut((stream, number), run, time.perf_counter() - started)
        started = time.perf_counter()
