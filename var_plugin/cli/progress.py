"""Progress bar of a command: one bar for all files of a run, with counts and the remaining time."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from var_plugin.errors import VarPluginError
from var_plugin.escaping import printable
from var_plugin.ingest.pipeline import RunProgress
from var_plugin.media.files import file_status
from var_plugin.media.sandbox.client import probe
from var_plugin.types import VideoReceipt

_NAME_WIDTH = 24


class ProgressBar(RunProgress):
    """Shows one bar on stderr. Each file counts by its size; within a file, progress is the processed share of time."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        # Keys are real paths, because several paths can lead to one file.
        self._sizes: dict[str, int] = {}
        self._durations: dict[str, float | None] = {}
        self._fractions: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def begin(self, files: Sequence[Path]) -> None:
        """Add files to the run."""
        for file in files:
            self._sizes.setdefault(os.path.realpath(file), _size(file))
        if not self._sizes:
            return
        if self._bar is None:
            self._bar = tqdm(
                total=1,
                file=sys.stderr,
                dynamic_ncols=True,
                smoothing=0.1,
                bar_format="{percentage:3.0f} %|{bar}| {desc}[{elapsed} elapsed, {remaining} left]",
            )
        self._bar.total = sum(self._sizes.values())
        self._show("")

    def __call__(self, file: Path, reached: float) -> None:
        """Update the position in a file, in seconds."""
        key = self._add(file)
        if key not in self._durations:
            self._durations[key] = _duration(file)
        duration = self._durations[key]
        fraction = min(1.0, reached / duration) if duration else 0.0
        self._fractions[key] = max(self._fractions.get(key, 0.0), fraction)
        self._show(file.name)

    def end(self, file: Path, line: VideoReceipt) -> None:
        """Mark a file as finished."""
        self._fractions[self._add(file)] = 1.0
        self._counts[line.status] += 1
        self._show(file.name)

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _add(self, file: Path) -> str:
        """Add a file to the run unless it is part of it already. Return its key."""
        key = os.path.realpath(file)
        if key not in self._sizes:
            self.begin([file])
        return key

    def _show(self, name: str) -> None:
        if self._bar is None:
            return
        finished = sum(self._counts.values())
        failed = f", {self._counts['failed']} failed" if self._counts["failed"] else ""
        current = printable(name)
        if len(current) > _NAME_WIDTH:
            current = f"{current[: _NAME_WIDTH - 1]}…"
        current = f"{current} " if current and finished < len(self._sizes) else ""
        self._bar.set_description_str(f"{finished} of {len(self._sizes)} files{failed} {current}", refresh=False)
        position = sum(round(self._sizes[key] * fraction) for key, fraction in self._fractions.items())
        self._bar.update(position - self._bar.n)


def _size(file: Path) -> int:
    """Return the size of a file in bytes, at least 1, so that every file counts."""
    try:
        return max(1, file_status(file).st_size)
    except VarPluginError:  # the receipt reports the error
        return 1


def _duration(file: Path) -> float | None:
    try:
        return probe(file).duration
    except VarPluginError:
        return None
