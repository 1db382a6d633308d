"""Measure taking over from a killed owner, and verifying, re-indexing, backing up and restoring an index.

    python benchmarks/reliability.py --rows 10000

Vectors are random with 384 dimensions, like those of the `lite` suite; nothing is embedded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from var_plugin.encoders.base import Space, l2_normalize
from var_plugin.encoders.suite import SpaceEncoders, Suite, SuiteDescription
from var_plugin.index.backup import backup, restore
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.index import VideoIndex
from var_plugin.index.verify import verify
from var_plugin.ingest.reindex import reindex
from var_plugin.types import Filter, Segment

DIM = 384
ROWS_PER_VIDEO = 500


def random_suite() -> Suite:
    """Return a suite that describes the vectors and has no encoders."""
    description = SuiteDescription(
        name="random", summary="", spaces={"scene": ("video",)}, code_licence="Apache-2.0", weights_licence="none",
        revision="1", megabytes=0, languages=(), needs_network=False, build="",
    )  # fmt: skip
    space = Space("scene", DIM, "IP", frozenset({"video"}), "random-1")
    return Suite(description, {"scene": SpaceEncoders(space)})


def fill(index: VideoIndex, rows: int) -> None:
    """Write videos of random vectors."""
    for number in range(rows // ROWS_PER_VIDEO):
        vectors = l2_normalize(np.random.default_rng(number).normal(size=(ROWS_PER_VIDEO, DIM)))
        segments = [Segment(start=8.0 * i, end=8.0 * i + 8, key=8.0 * i) for i in range(ROWS_PER_VIDEO)]
        entry = Entry(
            video_id=f"{number:032}", state="pending", content=f"{number:064}", duration=8.0 * ROWS_PER_VIDEO,
            sightings=(Sighting(path=f"/{number}.mp4", camera="c", recorded_at=-1),), metadata={}, settings="s",
            rows={}, added_at=number,
        )  # fmt: skip
        index.write(entry, {"scene": (segments, vectors)})


def own(database: str, ready: multiprocessing.synchronize.Event) -> None:
    """Open the database and keep it until killed."""
    index = VideoIndex(database, random_suite())
    ready.set()
    time.sleep(3600)
    index.close()


def takeover(database: Path) -> float:
    """Return the seconds from the owner's SIGKILL to the first search result in another process."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    owner = context.Process(target=own, args=(str(database), ready), daemon=True)
    owner.start()
    ready.wait()
    with VideoIndex(database, random_suite()) as index:
        query = l2_normalize(np.ones(DIM))
        index.search_segments("scene", query, limit=10, filter=Filter())
        owner.kill()
        owner.join()
        return round(timed(lambda: index.search_segments("scene", query, limit=10, filter=Filter())), 3)


def timed(action: Callable[[], object]) -> float:
    """Return the wall time of an action in seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000, help="number of rows")
    rows: int = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with VideoIndex(folder / "a.db", random_suite()) as index:
            report("write", rows, timed(lambda: fill(index, rows)))
            report("verify", rows, timed(lambda: verify(index)))
            report("backup", rows, timed(lambda: backup(index, folder / "saved")))
            report("rewrite", rows, timed(lambda: reindex(index, random_suite())))
        report("restore", rows, timed(lambda: restore(folder / "saved", folder / "b.db")))
        seconds = [takeover(folder / "a.db") for _ in range(5)]
        sys.stdout.write(f"takeover  median {statistics.median(seconds):.2f} s of {sorted(seconds)}\n")


def report(what: str, rows: int, seconds: float) -> None:
    """Print one figure."""
    sys.stdout.write(f"{what:8}  {seconds:6.1f} s  {rows / seconds:8.0f} rows/s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
