"""The progress bar of a command: one over all files of the run, with counts and the time that remains."""

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
    """Shows one bar on stderr. A file counts by its size, and within it the share of its duration that is done."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None
        # By real path: a file may be named in several ways.
        self._sizes: dict[str, int] = {}
        self._durations: dict[str, float | None] = {}
        self._shares: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def begin(self, files: Sequence[Path]) -> None:
        """Take in the files of the run."""
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
        """Take in the file at work and the time reached in it, in seconds."""
        key = self._planned(file)
        if key not in self._durations:
            self._durations[key] = _duration(file)
        duration = self._durations[key]
        self._shares[key] = max(self._shares.get(key, 0.0), min(1.0, reached / duration) if duration else 0.0)
        self._show(file.name)

    def end(self, file: Path, line: VideoReceipt) -> None:
        """Take in that a file is done."""
        self._shares[self._planned(file)] = 1.0
        self._counts[line.status] += 1
        self._show(file.name)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _planned(self, file: Path) -> str:
        key = os.path.realpath(file)
        if key not in self._sizes:
            self.begin([file])
        return key

    def _show(self, name: str) -> None:
        if self._bar is None:
            return
        done = sum(self._counts.values())
        failed = f", {self._counts['failed']} failed" if self._counts["failed"] else ""
        current = printable(name)
        if len(current) > _NAME_WIDTH:
            current = f"{current[: _NAME_WIDTH - 1]}…"
        current = f"{current} " if current and done < len(self._sizes) else ""
        self._bar.set_description_str(f"{done} of {len(self._sizes)} files{failed} {current}", refresh=False)
        reached = sum(round(self._sizes[key] * share) for key, share in self._shares.items())
        self._bar.update(reached - self._bar.n)


def _size(file: Path) -> int:
    """Return the bytes of a file, at least 1, so that every file counts."""
    try:
        return max(1, file_status(file).st_size)
    except VarPluginError:  # its line of the receipt says so
        return 1


def _duration(file: Path) -> float | None:
    try:
        return probe(file).duration
    except VarPluginError:
        return None
