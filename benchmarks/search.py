"""What a query costs, beside exact search in NumPy and faiss, Milvus Lite alone and LangChain on it.

    python benchmarks/search.py [--rows 10000 100000] [--runs 9] [--folder KEPT]
    python benchmarks/search.py --copy-alone 10000000

The rows are synthetic: unit vectors of the `lite` suite's `scene` space around a centre per video of 250 segments, on
20 cameras; queries lie near centres. The towers, the store, the filters and the command line are the real ones. All
ways take turns within one run, on the same rows; milliseconds are medians over the runs, of wall time and of CPU time
of all threads. Recall is the share of the ten truly nearest that are found. Indexes stay in
`--folder` for another run; an interrupted one goes on there.

With --copy-alone a copy is written from arrays, without Milvus Lite, and searched beside NumPy on the same memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np
from langchain_core.embeddings import FakeEmbeddings
from langchain_milvus import Milvus
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

import var_plugin as vp
from var_plugin.index import columns
from var_plugin.index.catalogue import Entry, Sighting
from var_plugin.index.columns import Column, Texts
from var_plugin.index.copies import Copies
from var_plugin.index.copy import Copy
from var_plugin.index.filters import Condition
from var_plugin.index.rows import HIT_FIELDS, segment_rows
from var_plugin.types import Segment

VIDEO_ROWS = 250
CAMERAS = 20
K = 10
MOST_RAW = 100_000
"""Rows for which collections of Milvus Lite's own are filled, which takes hours for a million; above, ours is asked."""
CAMERA = "camera3"
COLLECTION = "footage__scene"
TEXTS = ("two men fight in a street", "a red car at a crossing", "a crowd runs", "someone climbs over a fence")

Array = NDArray[Any]
Search = Callable[[Array], list[int]]


def made_rows(count: int, dim: int) -> tuple[Array, Array]:
    """Return unit vectors (count, dim), those of a video together, and the centres of the videos."""
    noise = np.random.default_rng(0)
    centres = noise.standard_normal((count // VIDEO_ROWS, dim)).astype(np.float32)
    vectors = np.repeat(centres, VIDEO_ROWS, axis=0)
    vectors += 0.7 * noise.standard_normal(vectors.shape).astype(np.float32)
    return unit(vectors), centres


def unit(vectors: Array) -> Array:
    """Return vectors of length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def camera_of(video: int) -> str:
    """Return the camera of a video."""
    return f"camera{video % CAMERAS}"


def fill_ours(index: vp.Index, vectors: Array) -> None:
    """Store the vectors as segments of videos; go on where a run was interrupted.

    A hundred at a time, and without the counts that ingest takes of each: Milvus Lite walks over all rows for them.
    """
    collection, store = index._collection("scene"), index._store
    for video in range(len(index.videos()), len(vectors) // VIDEO_ROWS):
        video_id = f"{video:016x}"
        entry = Entry(
            video_id=video_id, state="committed", content=hashlib.sha256(video_id.encode()).hexdigest(),
            sightings=(Sighting(path=f"/footage/{video}.mp4", camera=camera_of(video), recorded_at=-1),),
            duration=8.0 * VIDEO_ROWS, metadata={}, settings="benchmark", rows={"scene": VIDEO_ROWS}, added_at=video,
        )  # fmt: skip
        segments = [Segment(start=8.0 * row, end=8.0 * row + 8, key=8.0 * row) for row in range(VIDEO_ROWS)]
        store.write(collection, segment_rows(entry, segments, vectors[video * VIDEO_ROWS : (video + 1) * VIDEO_ROWS]))
        with patch.object(store, "flush"):
            index._videos.put(entry)
        if (video + 1) * VIDEO_ROWS in (len(vectors), *range(0, len(vectors), 100 * VIDEO_ROWS)):
            store.flush(collection)
            store.flush("footage__videos")


def fill_raw(client: MilvusClient, name: str, kind: str, vectors: Array) -> None:
    """Store the vectors in a collection with an index of that kind; go on where a run was interrupted."""
    if not client.has_collection(name):
        schema = client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("camera", DataType.VARCHAR, max_length=64)
        schema.add_field("text", DataType.VARCHAR, max_length=64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
        client.create_collection(name, schema=schema)
    for first in range(int(client.get_collection_stats(name)["row_count"]), len(vectors), 1_000):
        rows = [
            {"id": row, "camera": camera_of(row // VIDEO_ROWS), "text": "segment", "vector": vectors[row].tolist()}
            for row in range(first, min(first + 1_000, len(vectors)))
        ]
        client.insert(name, rows)
    client.flush(name)
    if client.list_indexes(name):
        return
    parameters = client.prepare_index_params()
    parameters.add_index("vector", index_type=kind, metric_type="IP")
    client.create_index(name, parameters)


def ways(
    folder: Path, index: vp.Index, vectors: Array, client: MilvusClient | None, camera: str | None
) -> dict[str, Search]:
    """Return the ways to the K nearest rows, the exact one first; `ours` is what `search` asks of the index."""
    rows = np.arange(len(vectors))
    allowed = rows if camera is None else rows[[camera_of(row // VIDEO_ROWS) == camera for row in rows]]
    expression = f'camera == "{camera}"' if camera else ""
    wanted = vp.Filter(cameras=(camera,)) if camera else vp.Filter()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    selected = faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed)) if camera else None

    def numpy_exact(query: Array) -> list[int]:
        scores = vectors @ query if camera is None else vectors[allowed] @ query
        return list(allowed[np.argpartition(-scores, K)[:K]].tolist())

    def ours(query: Array) -> list[int]:
        hits = index.hits("scene", query, limit=K, wanted=wanted)
        return [int(hit.video_id, 16) * VIDEO_ROWS + round(hit.start / 8) for hit in hits]

    exact: dict[str, Search] = {
        "NumPy, exact": numpy_exact,
        "faiss, flat": lambda query: list(flat.search(query[None], K, params=selected)[1][0].tolist()),
    }
    if client is None:

        def stored(query: Array) -> list[int]:
            found = index._store.search(COLLECTION, query, limit=K, expression=expression, fields=HIT_FIELDS)
            return [int(row["video_id"], 16) * VIDEO_ROWS + row["start_ms"] // 8_000 for _, row in found]

        return exact | {"Milvus Lite, FLAT": stored, "ours": ours}
    chain = Milvus(
        FakeEmbeddings(size=vectors.shape[1]), collection_name="flat", connection_args={"uri": str(folder / "raw.db")},
        primary_field="id", text_field="text", vector_field="vector", search_params={"metric_type": "IP", "params": {}},
    )  # fmt: skip

    def milvus(name: str, **parameters: int) -> Search:
        def search(query: Array) -> list[int]:
            found = client.search(
                name, [query.tolist()], limit=K, filter=expression, search_params={"params": parameters},
                output_fields=["camera"],
            )  # fmt: skip
            return [int(hit["id"]) for hit in found[0]]

        return search

    return exact | {
        "Milvus Lite, FLAT": milvus("flat"),
        "Milvus Lite, HNSW, ef 64": milvus("hnsw", ef=64),
        "Milvus Lite, HNSW, ef 1024": milvus("hnsw", ef=1_024),
        "langchain-milvus on FLAT": lambda query: [
            int(found.metadata["id"])
            for found in chain.similarity_search_by_vector(query.tolist(), k=K, expr=expression or None)
        ],
        "ours": ours,
    }


def compare(contenders: dict[str, Search], queries: Array, runs: int) -> Iterator[tuple[str, float, float, float]]:
    """Yield name, wall and CPU milliseconds, and recall; the first way is exact."""
    wall: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    recall: dict[str, list[float]] = {name: [] for name in contenders}
    for run in range(runs + 1):  # the first one warms up
        query = queries[run % len(queries)]
        truth: set[int] = set()
        for name, search in contenders.items():
            with timed() as took:
                found = search(query)
            truth = truth or set(found)
            if run:
                wall[name].append(took[0])
                cpu[name].append(took[1])
                recall[name].append(len(truth & set(found)) / len(truth))
    for name in contenders:
        yield name, median(wall[name]), median(cpu[name]), float(np.mean(recall[name]))


@contextmanager
def timed(clock: Callable[[], float] = time.process_time) -> Iterator[list[float]]:
    """Fill in milliseconds of wall and of CPU time."""
    took: list[float] = []
    wall, cpu = time.perf_counter(), clock()
    yield took
    took += [1e3 * (time.perf_counter() - wall), 1e3 * (clock() - cpu)]


def whole_query(index: vp.Index, runs: int) -> Iterator[tuple[str, float, float]]:
    """Yield what a text takes from end to end, and of that the towers, the reading of the copies and all else.

    CPU time is that of the asking thread: the others of BLAS wait for work in a loop.
    """
    spent: dict[str, list[float]] = {}

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            with timed(time.thread_time) as took:
                found = work(*arguments, **options)
            spent[name] = [sum(pair) for pair in zip(spent.get(name, (0.0, 0.0)), took, strict=True)]
            return found

        return run

    parts: dict[str, list[list[float]]] = {}
    with ExitStack() as patches:
        for owner, method, name in (
            (index.suite, "encode", "towers, both spaces"),
            (index._reader, "search", "rows from the copies"),
        ):
            patches.enter_context(patch.object(owner, method, counted(name, getattr(owner, method))))
        for run in range(runs + 1):
            spent.clear()
            with timed(time.thread_time) as whole:
                index.search(f"{TEXTS[run % len(TEXTS)]}, {run}", k=5)  # no text is remembered
            rest = [whole[i] - sum(took[i] for took in spent.values()) for i in range(2)]
            if run:
                for name, took in ({"end to end": whole} | spent | {"our own: the rest": rest}).items():
                    parts.setdefault(name, []).append(took)
    for name, took in parts.items():
        yield name, *(median(column) for column in zip(*took, strict=True))


def cold(commands: dict[str, list[str]], runs: int) -> Iterator[tuple[str, float, float]]:
    """Yield the wall seconds of processes, from start to end, and their share of the first one's."""
    took: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603
            if run:
                took[name].append(time.perf_counter() - started)
    first = median(next(iter(took.values())))
    for name, seconds in took.items():
        yield name, median(seconds), median(seconds) / first


def made_copy(folder: Path) -> None:
    """Make the copy of our collection anew."""
    copies = Copies(folder / "ours.db")
    copies.forget(COLLECTION)
    copies.renew(COLLECTION, at_once=True)


def first_of_ours(folder: Path) -> None:
    """Open our index and search it once."""
    with vp.open_index(folder / "ours.db", suite="lite") as index:
        index.hits("scene", np.ones(index.suite.spaces["scene"].dim, np.float32), limit=K, wanted=vp.Filter())


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

    def texts(places: Array, distinct: list[str]) -> Texts:
        return Texts(places, np.frombuffer(json.dumps(distinct).encode(), np.uint8))

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
    copy, mapped = Copy(found, frozenset(("metadata",))), found["vector"]
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


def compared(camera: str | None, results: Sequence[tuple[str, float, float, float]]) -> None:
    """Print the table of a comparison."""
    table(
        (f"ten nearest of {'one camera' if camera else 'all'}", "ms", "CPU ms", "× NumPy", "recall"),
        (
            (name, f"{wall:.2f}", f"{cpu:.2f}", f"{wall / results[0][1]:.2f}", f"{found:.2f}")
            for name, wall, cpu, found in results
        ),
    )


def table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> None:
    """Print a Markdown table, each row as soon as it is known."""
    say(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        say(f"| {' | '.join(row)} |")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def measure(count: int, folder: Path, runs: int) -> None:
    """Print the tables for so many rows."""
    suite = vp.load_suite("lite")
    vectors, centres = made_rows(count, suite.spaces["scene"].dim)
    ours, raw = folder / "ours.db", folder / "raw.db"
    with vp.open_index(ours, suite=suite) as index:
        fill_ours(index, vectors)
    client = MilvusClient(str(raw)) if count <= MOST_RAW else None
    for name, kind in (("flat", "FLAT"), ("hnsw", "HNSW")) if client else ():
        fill_raw(client, name, kind, vectors)
        client.load_collection(name)
    noise = np.random.default_rng(1).standard_normal((runs + 1, vectors.shape[1])).astype(np.float32)
    queries = unit(centres[: runs + 1] * 0.5 + noise)
    say(f"\n## {count} rows of {vectors.shape[1]} numbers")
    with vp.open_index(ours, suite=suite) as index:
        for camera in (None, CAMERA):
            compared(camera, list(compare(ways(folder, index, vectors, client, camera), queries, runs)))
        parts = ((name, f"{wall:.2f}", f"{cpu:.2f}") for name, wall, cpu in whole_query(index, runs))
        table(("a text, in the running process", "ms", "CPU ms"), parts)
    if client:
        client.close()
    table(("a process of its own", "s", "peak, MiB", "of it mapped, MiB", "on disk, MB"), rooms(folder))
    opening = f"from pymilvus import MilvusClient; MilvusClient({str(ours)!r}).load_collection('footage__scene')"
    commands = {
        "import pymilvus, open Milvus Lite, load": [sys.executable, "-c", opening],
        "var-plugin search TEXT": [sys.executable, "-m", "var_plugin", "search", TEXTS[0], "--index", str(ours)],
        "import torch, for comparison": [sys.executable, "-c", "import torch"],
    }
    rows = ((name, f"{seconds:.2f}", f"{share:.2f}") for name, seconds, share in cold(commands, min(runs, 5)))
    table(("a process of its own", "s", "× the first"), rows)


def main() -> None:
    """Parse, and measure each size."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    options.add_argument("--runs", type=int, default=9)
    options.add_argument("--folder", type=Path)
    options.add_argument("--copy-alone", type=int, metavar="ROWS")
    options.add_argument("--alone", choices=ALONE, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.alone:
        alone(arguments.alone, arguments.folder)
        return
    for name in ("grpc", "grpc._server", "milvus_lite", "pymilvus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.copy_alone:
            copy_alone(arguments.copy_alone, Path(temporary), arguments.runs)
            return
        for count in arguments.rows:
            folder = (arguments.folder or Path(temporary)) / str(count)
            folder.mkdir(parents=True, exist_ok=True)
            measure(count, folder, arguments.runs)


if __name__ == "__main__":
    main()
