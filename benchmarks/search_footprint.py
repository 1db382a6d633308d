"""Measure the time, memory and disk space of a snapshot and of the first search, each in its own process.

    python benchmarks/search_footprint.py --snapshot-only 10000000

`search.py` prints the table of its index with this module. With --snapshot-only a snapshot is written from arrays,
without Milvus Lite, and searched beside NumPy on the same memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from comparing import compare, print_comparison, print_line, timed
from pymilvus import MilvusClient
from search_rows import CAMERA, CAMERAS, COLLECTION, VIDEO_ROWS, Array, camera_of, l2_normalize

import var_plugin as vp
from var_plugin.index.filters import Condition
from var_plugin.index.milvus.snapshot import Snapshot, read_snapshot, write_snapshot
from var_plugin.index.milvus.snapshot_cache import SnapshotCache
from var_plugin.index.rows import HIT_FIELDS

K = 10


def rebuild_snapshot(folder: Path) -> None:
    """Rebuild the snapshot of our collection."""
    snapshots = SnapshotCache(folder / "ours.db")
    snapshots.discard(COLLECTION)
    snapshots.refresh(COLLECTION, force=True)


def first_search_of_ours(folder: Path) -> None:
    """Open our index and search it once."""
    with vp.open_index(folder / "ours.db", suite="lite") as index:
        index._inner.search_segments(
            "scene", np.ones(index.suite.spaces["scene"].dim, np.float32), limit=K, filter=vp.Filter()
        )


def first_search_of_milvus_lite(folder: Path) -> None:
    """Open Milvus Lite and search it once."""
    client = MilvusClient(str(folder / "ours.db"))
    client.load_collection(COLLECTION)
    dim = vp.load_suite("lite").spaces["scene"].dim
    client.search(COLLECTION, [[1.0] * dim], limit=K, search_params={"params": {}})


MEASUREMENTS = {
    "building the snapshot": (rebuild_snapshot, "ours.db/snapshots"),
    "ours, to the first result": (first_search_of_ours, "ours.db/collections"),
    "Milvus Lite, FLAT, to the first result": (first_search_of_milvus_lite, "ours.db/collections"),
}
"""The function that runs in its own process, and the folder whose size is measured."""


def measure_here(name: str, folder: Path) -> None:
    """Run one measurement and print its seconds without imports, the peak memory and the mapped memory in MiB."""
    with timed() as times:
        MEASUREMENTS[name][0](folder)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak, mapped = (int(status[kind].split()[0]) / 1024 for kind in ("VmHWM", "RssFile"))
    print_line(f"{times[0] / 1e3} {peak} {mapped}")


def footprints(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table, each measured in its own process."""
    for name, (_, place) in MEASUREMENTS.items():
        command = [sys.executable, __file__, "--measure", name, "--folder", str(folder)]
        numbers = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
        disk = sum(file.stat().st_size for file in (folder / place).rglob("*") if file.is_file()) / 1e6
        yield name, *(f"{float(number):.1f}" for number in numbers), f"{disk:.0f}"


def snapshot_only(count: int, folder: Path, runs: int) -> None:
    """Print the cost of writing, mapping and searching a snapshot of `count` rows, beside NumPy on the same memory."""
    dim = vp.load_suite("lite").spaces["scene"].dim
    source = folder / "vectors"
    vectors = np.memmap(source, np.float32, "w+", shape=(count, dim))
    noise = np.random.default_rng(0)
    for first in range(0, count, 100 * VIDEO_ROWS):
        part = vectors[first : first + 100 * VIDEO_ROWS]
        centres = np.repeat(noise.standard_normal((-(-len(part) // VIDEO_ROWS), dim), np.float32), VIDEO_ROWS, axis=0)
        part[:] = l2_normalize(centres[: len(part)] + 0.7 * noise.standard_normal(part.shape, np.float32))
    video = np.arange(count, dtype=np.int32) // VIDEO_ROWS
    start = (np.arange(count, dtype=np.int64) % VIDEO_ROWS) * 8_000

    def texts(places: Array, distinct: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(places, distinct)

    same = np.zeros(count, np.int32)
    table = pa.table({
        "id": texts(np.arange(count, dtype=np.int32), [f"{row:032x}" for row in range(count)]),
        "video_id": texts(video, [f"{number:032x}" for number in range(video[-1] + 1)]),
        "camera": texts(video % CAMERAS, [camera_of(number) for number in range(CAMERAS)]),
        "kind": texts(same, ["uniform"]),
        "start_ms": start, "end_ms": start + 8_000, "key_ms": start, "recorded_at": start - 1,
        "anomaly": np.zeros(count), "novelty": np.zeros(count), "events": texts(same, ["{}"]),
        "trained": texts(same, ["{}"]), "reason": texts(same, [""]), "metadata": texts(same, ["{}"]),
        "vector": pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), dim),
    })  # fmt: skip
    path = folder / "copy.snapshot"
    with timed() as writing:
        write_snapshot(path, table, "benchmark")
    source.unlink()
    del table, vectors
    with timed() as opening:
        stored = read_snapshot(path, "benchmark")
    if stored is None:
        raise SystemExit("the snapshot is damaged")
    snapshot, mapped = Snapshot(stored, frozenset(("metadata",))), stored["vector"]
    print_line(f"\n## a snapshot of {count} rows: {path.stat().st_size / 1e9:.2f} GB")
    print_line(f"written in {writing[0] / 1e3:.1f} s, opened (with its checksum) in {opening[0] / 1e3:.1f} s")
    queries = l2_normalize(noise.standard_normal((runs + 1, dim), np.float32))
    for camera in (None, CAMERA):
        allowed = np.flatnonzero(video % CAMERAS == int(CAMERA.removeprefix("camera")))
        conditions = [Condition("camera", "==", camera)] if camera else []

        def exact(query: Array, camera: str | None = camera, allowed: Array = allowed) -> list[int]:
            scores = mapped @ query if camera is None else mapped[allowed] @ query
            best = np.argpartition(-scores, K)[:K]
            return list((best if camera is None else allowed[best]).tolist())

        def ours(query: Array, conditions: list[Condition] = conditions) -> list[int]:
            hits = snapshot.search(query, metric="IP", limit=K, conditions=conditions, fields=HIT_FIELDS)
            return [int(row["video_id"], 16) * VIDEO_ROWS + row["start_ms"] // 8_000 for _, row in hits]

        print_comparison(camera, list(compare({"NumPy, exact": exact, "snapshot": ours}, queries, runs)))


def main() -> None:
    """Parse the arguments and run the measurement."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--snapshot-only", type=int, metavar="ROWS")
    options.add_argument("--runs", type=int, default=9)
    options.add_argument("--measure", choices=MEASUREMENTS, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.measure:
        measure_here(arguments.measure, arguments.folder)
        return
    if not arguments.snapshot_only:
        options.error("name the number of rows: --snapshot-only ROWS")
    with tempfile.TemporaryDirectory() as temporary:
        snapshot_only(arguments.snapshot_only, Path(temporary), arguments.runs)


if __name__ == "__main__":
    main()
