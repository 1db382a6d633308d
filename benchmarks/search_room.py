"""What a copy and the ways to a first answer take of time, memory and disk, each in a process of its own.

    python benchmarks/search_room.py --copy-alone 10000000

`search.py` prints the table of its index by this. With --copy-alone a copy is written from arrays, without Milvus Lite,
and searched beside NumPy on the same memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from comparing import compare, compared, say, timed
from pymilvus import MilvusClient
from search_rows import CAMERA, CAMERAS, COLLECTION, VIDEO_ROWS, Array, camera_of, unit

import var_plugin as vp
from var_plugin.index.filters import Condition
from var_plugin.index.milvus import snapshot as columns
from var_plugin.index.milvus.snapshot import Column, Snapshot, SnapshotCache, TextColumn
from var_plugin.index.rows import HIT_FIELDS

K = 10


def made_copy(folder: Path) -> None:
    """Make the copy of our collection anew."""
    copies = SnapshotCache(folder / "ours.db")
    copies.discard(COLLECTION)
    copies.refresh(COLLECTION, force=True)


def first_of_ours(folder: Path) -> None:
    """Open our index and search it once."""
    with vp.open_index(folder / "ours.db", suite="lite") as index:
        index.search_segments(
            "scene", np.ones(index.suite.spaces["scene"].dim, np.float32), limit=K, filter=vp.Filter()
        )


def first_of_lite(folder: Path) -> None:
    """Open Milvus Lite and search it once."""
    client = MilvusClient(str(folder / "ours.db"))
    client.load_collection(COLLECTION)
    dim = vp.load_suite("lite").spaces["scene"].dim
    client.search(COLLECTION, [[1.0] * dim], limit=K, search_params={"params": {}})


ALONE = {
    "making the copy": (made_copy, "ours.db/copies"),
    "ours, to the first answer": (first_of_ours, "ours.db/collections"),
    "Milvus Lite, FLAT, to the first answer": (first_of_lite, "ours.db/collections"),
}
"""What runs in processes of its own, and where what it makes or reads lies."""


def alone(name: str, folder: Path) -> None:
    """Do one of these; print the seconds it took without imports, and MiB: the peak, and what is mapped at the end."""
    with timed() as took:
        ALONE[name][0](folder)
    held = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    peak, mapped = (int(held[kind].split()[0]) / 1024 for kind in ("VmHWM", "RssFile"))
    say(f"{took[0] / 1e3} {peak} {mapped}")


def rooms(folder: Path) -> Iterator[tuple[str, ...]]:
    """Yield what the copy and the ways to a first answer take, each in a process of its own."""
    for name, (_, place) in ALONE.items():
        command = [sys.executable, __file__, "--alone", name, "--folder", str(folder)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
        disk = sum(file.stat().st_size for file in (folder / place).rglob("*") if file.is_file()) / 1e6
        yield name, *(f"{float(number):.1f}" for number in found), f"{disk:.0f}"


def copy_alone(count: int, folder: Path, runs: int) -> None:
    """Print what a copy of so many rows costs, written from arrays and mapped, beside NumPy on the same memory."""
    dim = vp.load_suite("lite").spaces["scene"].dim
    source = folder / "vectors"
    vectors = np.memmap(source, np.float32, "w+", shape=(count, dim))
    noise = np.random.default_rng(0)
    for first in range(0, count, 100 * VIDEO_ROWS):
        part = vectors[first : first + 100 * VIDEO_ROWS]
        centres = np.repeat(noise.standard_normal((-(-len(part) // VIDEO_ROWS), dim), np.float32), VIDEO_ROWS, axis=0)
        part[:] = unit(centres[: len(part)] + 0.7 * noise.standard_normal(part.shape, np.float32))
    video = np.arange(count, dtype=np.int32) // VIDEO_ROWS
    start = (np.arange(count, dtype=np.int64) % VIDEO_ROWS) * 8_000

    def texts(places: Array, distinct: list[str]) -> TextColumn:
        return TextColumn(places, np.frombuffer(json.dumps(distinct).encode(), np.uint8))

    same = np.zeros(count, np.int32)
    held: dict[str, Column] = {
        "id": texts(np.arange(count, dtype=np.int32), [f"{row:032x}" for row in range(count)]),
        "video_id": texts(video, [f"{number:032x}" for number in range(video[-1] + 1)]),
        "camera": texts(video % CAMERAS, [camera_of(number) for number in range(CAMERAS)]),
        "kind": texts(same, ["uniform"]),
        "start_ms": start, "end_ms": start + 8_000, "key_ms": start, "recorded_at": start - 1,
        "anomaly": np.zeros(count), "metadata": texts(same, ["{}"]), "vector": vectors,
    }  # fmt: skip
    path = folder / "copy.columns"
    with timed() as writing:
        columns.write(path, held, "benchmark")
    source.unlink()
    del held, vectors
    with timed() as opening:
        found = columns.read(path, "benchmark")
    if found is None:
        raise SystemExit("the copy is damaged")
    copy, mapped = Snapshot(found, frozenset(("metadata",))), found["vector"]
    say(f"\n## a copy of {count} rows alone: {path.stat().st_size / 1e9:.2f} GB")
    say(f"written in {writing[0] / 1e3:.1f} s, opened (every byte checked) in {opening[0] / 1e3:.1f} s")
    queries = unit(noise.standard_normal((runs + 1, dim), np.float32))
    for camera in (None, CAMERA):
        allowed = np.flatnonzero(video % CAMERAS == int(CAMERA.removeprefix("camera")))
        conditions = [Condition("camera", "==", camera)] if camera else []

        def exact(query: Array, camera: str | None = camera, allowed: Array = allowed) -> list[int]:
            scores = mapped @ query if camera is None else mapped[allowed] @ query
            best = np.argpartition(-scores, K)[:K]
            return list((best if camera is None else allowed[best]).tolist())

        def ours(query: Array, conditions: list[Condition] = conditions) -> list[int]:
            hits = copy.search(query, metric="IP", limit=K, conditions=conditions, fields=HIT_FIELDS)
            return [int(row["video_id"], 16) * VIDEO_ROWS + row["start_ms"] // 8_000 for _, row in hits]

        compared(camera, list(compare({"NumPy, exact": exact, "the copy": ours}, queries, runs)))


def main() -> None:
    """Do what is asked."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--copy-alone", type=int, metavar="ROWS")
    options.add_argument("--runs", type=int, default=9)
    options.add_argument("--alone", choices=ALONE, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.alone:
        alone(arguments.alone, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy_alone(arguments.copy_alone, Path(temporary), arguments.runs)


if __name__ == "__main__":
    main()
