"""What a query costs, beside exact search in NumPy and faiss, Milvus Lite alone and LangChain on it.

    python benchmarks/search.py [--rows 10000 100000] [--runs 9] [--folder KEPT]

The rows are synthetic: unit vectors of the `lite` suite's `scene` space around a centre per video of 250 segments, on
20 cameras; queries lie near centres. The towers, the store, the filters and the command line are the real ones. All
ways take turns within one run, on the same rows; milliseconds are medians over the runs, of wall time and of CPU time
of all threads. Recall is the share of the ten truly nearest that are found. Indexes stay in `--folder` for another run.
"""

from __future__ import annotations

import argparse
import hashlib
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
from var_plugin.index.catalogue import Entry, Sighting
from var_plugin.index.rows import segment_rows
from var_plugin.types import Segment

VIDEO_ROWS = 250
CAMERAS = 20
K = 10
CAMERA = "camera3"
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


def ways(folder: Path, index: vp.Index, vectors: Array, client: MilvusClient, camera: str | None) -> dict[str, Search]:
    """Return the ways to the K nearest rows, the exact one first; `ours` is what `search` asks of the index."""
    rows = np.arange(len(vectors))
    allowed = rows if camera is None else rows[[camera_of(row // VIDEO_ROWS) == camera for row in rows]]
    expression = f'camera == "{camera}"' if camera else ""
    wanted = vp.Filter(cameras=(camera,)) if camera else vp.Filter()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    selected = faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed)) if camera else None
    chain = Milvus(
        FakeEmbeddings(size=vectors.shape[1]), collection_name="flat", connection_args={"uri": str(folder / "raw.db")},
        primary_field="id", text_field="text", vector_field="vector", search_params={"metric_type": "IP", "params": {}},
    )  # fmt: skip

    def numpy_exact(query: Array) -> list[int]:
        scores = vectors @ query if camera is None else vectors[allowed] @ query
        return list(allowed[np.argpartition(-scores, K)[:K]].tolist())

    def milvus(name: str, **parameters: int) -> Search:
        def search(query: Array) -> list[int]:
            found = client.search(
                name, [query.tolist()], limit=K, filter=expression, search_params={"params": parameters},
                output_fields=["camera"],
            )  # fmt: skip
            return [int(hit["id"]) for hit in found[0]]

        return search

    def ours(query: Array) -> list[int]:
        hits = index.hits("scene", query, limit=K, wanted=wanted)
        return [int(hit.video_id, 16) * VIDEO_ROWS + round(hit.start / 8) for hit in hits]

    return {
        "NumPy, exact": numpy_exact,
        "faiss, flat": lambda query: list(flat.search(query[None], K, params=selected)[1][0].tolist()),
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
    new = not ours.exists()
    with vp.open_index(ours, suite=suite) as index:
        if new:
            fill_ours(index, vectors)
    client = MilvusClient(str(raw))
    for name, kind in (("flat", "FLAT"), ("hnsw", "HNSW")):
        if not client.has_collection(name):
            fill_raw(client, name, kind, vectors)
        client.load_collection(name)
    noise = np.random.default_rng(1).standard_normal((runs + 1, vectors.shape[1])).astype(np.float32)
    queries = unit(centres[: runs + 1] * 0.5 + noise)
    say(f"\n## {count} rows of {vectors.shape[1]} numbers")
    with vp.open_index(ours, suite=suite) as index:
        for camera in (None, CAMERA):
            results = list(compare(ways(folder, index, vectors, client, camera), queries, runs))
            exact = results[0]
            table(
                (
                    f"ten nearest of {'one camera' if camera else 'all'}",
                    "ms",
                    "CPU ms",
                    "× NumPy",
                    "recall",
                ),
                (
                    (name, f"{wall:.2f}", f"{cpu:.2f}", f"{wall / exact[1]:.2f}", f"{found:.2f}")
                    for name, wall, cpu, found in results
                ),
            )
        parts = ((name, f"{wall:.2f}", f"{cpu:.2f}") for name, wall, cpu in whole_query(index, runs))
        table(("a text, in the running process", "ms", "CPU ms"), parts)
    client.close()
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
    arguments = options.parse_args()
    for name in ("grpc", "grpc._server", "milvus_lite", "pymilvus"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as temporary:
        for count in arguments.rows:
            folder = (arguments.folder or Path(temporary)) / str(count)
            folder.mkdir(parents=True, exist_ok=True)
            measure(count, folder, arguments.runs)


if __name__ == "__main__":
    main()
