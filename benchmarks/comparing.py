"""Compare nearest-neighbour searches alternately and print Markdown tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
from search_rows import Array

Search = Callable[[Array], list[int]]


def compare(contenders: dict[str, Search], queries: Array, runs: int) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, wall and CPU milliseconds, and recall of each search; the first one is exact."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    recall: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(runs + 1):  # the first run is a warm-up
        query = queries[run % len(queries)]
        truth: set[int] = set()
        for name, search in contenders.items():
            with timed() as times:
                results = search(query)
            truth = truth or set(results)
            if run:
                wall[name].append(times[0])
                cpu[name].append(times[1])
                recall[name].append(len(truth & set(results)) / len(truth))
    for name in contenders:
        yield name, median(wall[name]), median(cpu[name]), float(np.mean(recall[name]))


@contextmanager
def timed(clock: Callable[[], float] = time.process_time) -> Iterator[list[float]]:
    """Append the wall and CPU milliseconds of the block to the yielded list."""
    times: list[float] = []
    wall, cpu = time.perf_counter(), clock()
    yield times
    times += [1e3 * (time.perf_counter() - wall), 1e3 * (clock() - cpu)]


def print_comparison(camera: str | None, results: Sequence[tuple[str, float, float, float]]) -> None:
    """Print the table of a comparison."""
    table(
        (f"ten nearest of {'one camera' if camera else 'all'}", "ms", "CPU ms", "× NumPy", "recall"),
        (
            (name, f"{wall:.2f}", f"{cpu:.2f}", f"{wall / results[0][1]:.2f}", f"{recall:.2f}")
            for name, wall, cpu, recall in results
        ),
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table row by row."""
    print_line(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        print_line(f"| {' | '.join(row)} |")


def print_line(line: str) -> None:
    """Print a line and flush."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
