"""Measure a query, relative to exact search in NumPy and faiss, Milvus Lite, and LangChain on Milvus Lite.

    python benchmarks/search.py [--rows 10000 100000] [--runs 9] [--folder FOLDER]

The rows are synthetic: unit vectors of the `lite` suite's `scene` space around a centre per video of 250 segments, on
20 cameras. Queries are near the centres. The towers, the store, the filters and the command line are the real ones. All
ways alternate within one run on the same rows. Milliseconds are medians over the runs, of wall time and of the CPU time
of all threads. Recall is the share of the ten nearest rows that are found. Indexes stay in `--folder` for later runs;
an interrupted run is continued there.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import faiss
import numpy as np
from comparing import Search, compare, print_comparison, print_line, table, timed
from langchain_core.embeddings import FakeEmbeddings
from langchain_milvus import Milvus
from pymilvus import MilvusClient
from search_footprint import K, footprints
from search_rows import (
    CAMERA,
    COLLECTION,
    VIDEO_ROWS,
    Array,
    camera_of,
    fill_ours,
    fill_raw,
    synthetic_rows,
)

import var_plugin as vp
from var_plugin.encoders.base import l2_normalize
from var_plugin.index.rows import HIT_FIELDS

MAX_RAW_ROWS = 100_000
"""Maximum rows of plain Milvus Lite collections, which take hours to fill for a million. Above, ours is used."""

TEXTS = ("two men fight in a street", "a red car at a crossing", "a crowd runs", "someone climbs over a fence")


def ways(
    folder: Path, index: vp.Index, vectors: Array, client: MilvusClient | None, camera: str | None
) -> dict[str, Search]:
    """Return the searches for the K nearest rows, the exact one first; `ours` is what `Index.search` uses."""
    rows = np.arange(len(vectors))
    allowed = rows if camera is None else rows[[camera_of(row // VIDEO_ROWS) == camera for row in rows]]
    expression = f'camera == "{camera}"' if camera else ""
    search_filter = vp.Filter(cameras=(camera,)) if camera else vp.Filter()
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    selected = faiss.SearchParameters(sel=faiss.IDSelectorBatch(allowed)) if camera else None

    def numpy_exact(query: Array) -> list[int]:
        scores = vectors @ query if camera is None else vectors[allowed] @ query
        return list(allowed[np.argpartition(-scores, K)[:K]].tolist())

    def ours(query: Array) -> list[int]:
        hits = index._inner.search_segments("scene", query, limit=K, filter=search_filter)
        return [int(hit.video_id, 16) * VIDEO_ROWS + round(hit.start / 8) for hit in hits]

    exact: dict[str, Search] = {
        "NumPy, exact": numpy_exact,
        "faiss, flat": lambda query: list(flat.search(query[None], K, params=selected)[1][0].tolist()),
    }
    if client is None:

        def stored(query: Array) -> list[int]:
            rows = index._inner._store.search(COLLECTION, query, limit=K, expression=expression, fields=HIT_FIELDS)
            return [int(row["video_id"], 16) * VIDEO_ROWS + row["start_ms"] // 8_000 for _, row in rows]

        return exact | {"Milvus Lite, FLAT": stored, "ours": ours}
    chain = Milvus(
        FakeEmbeddings(size=vectors.shape[1]), collection_name="flat", connection_args={"uri": str(folder / "raw.db")},
        primary_field="id", text_field="text", vector_field="vector", search_params={"metric_type": "IP", "params": {}},
    )  # fmt: skip

    def milvus(name: str, **parameters: int) -> Search:
        def search(query: Array) -> list[int]:
            results = client.search(
                name, [query.tolist()], limit=K, filter=expression, search_params={"params": parameters},
                output_fields=["camera"],
            )  # fmt: skip
            return [int(hit["id"]) for hit in results[0]]

        return search

    return exact | {
        "Milvus Lite, FLAT": milvus("flat"),
        "Milvus Lite, HNSW, ef 64": milvus("hnsw", ef=64),
        "Milvus Lite, HNSW, ef 1024": milvus("hnsw", ef=1_024),
        "langchain-milvus on FLAT": lambda query: [
            int(document.metadata["id"])
            for document in chain.similarity_search_by_vector(query.tolist(), k=K, expr=expression or None)
        ],
        "ours": ours,
    }


def whole_query(index: vp.Index, runs: int) -> Iterator[tuple[str, float, float]]:
    """Yield the time of a text query end to end, and of its towers, its snapshot reads and the rest.

    CPU time is that of the calling thread, because the other BLAS threads wait in a busy loop.
    """
    spent: dict[str, list[float]] = {}

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            with timed(time.thread_time) as times:
                result = work(*arguments, **options)
            spent[name] = [sum(pair) for pair in zip(spent.get(name, (0.0, 0.0)), times, strict=True)]
            return result

        return run

    parts: dict[str, list[list[float]]] = {}
    with ExitStack() as patches:
        for owner, method, name in (
            (index.suite, "encode", "towers, both spaces"),
            (index._inner._reader, "search", "rows from the snapshots"),
        ):
            patches.enter_context(patch.object(owner, method, counted(name, getattr(owner, method))))
        for run in range(runs + 1):
            spent.clear()
            with timed(time.thread_time) as whole:
                index.search(f"{TEXTS[run % len(TEXTS)]}, {run}", k=5)  # a new text each time, because texts are cached
            rest = [whole[i] - sum(took[i] for took in spent.values()) for i in range(2)]
            if run:
                for name, took in ({"end to end": whole} | spent | {"the rest of our code": rest}).items():
                    parts.setdefault(name, []).append(took)
    for name, took in parts.items():
        yield name, *(median(column) for column in zip(*took, strict=True))


def cold(commands: dict[str, list[str]], runs: int) -> Iterator[tuple[str, float, float]]:
    """Yield the wall seconds of processes from start to end, and the ratio to the first one."""
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


def measure(count: int, folder: Path, runs: int) -> None:
    """Print the tables for `count` rows."""
    suite = vp.load_suite("lite")
    vectors, centres = synthetic_rows(count, suite.spaces["scene"].dim)
    ours, raw = folder / "ours.db", folder / "raw.db"
    with vp.open_index(ours, suite=suite) as index:
        fill_ours(index, vectors)
    client = MilvusClient(str(raw)) if count <= MAX_RAW_ROWS else None
    for name, kind in (("flat", "FLAT"), ("hnsw", "HNSW")) if client else ():
        fill_raw(client, name, kind, vectors)
        client.load_collection(name)
    noise = np.random.default_rng(1).standard_normal((runs + 1, vectors.shape[1])).astype(np.float32)
    queries = l2_normalize(centres[: runs + 1] * 0.5 + noise)
    print_line(f"\n## {count} rows of {vectors.shape[1]} numbers")
    with vp.open_index(ours, suite=suite) as index:
        index._inner.search_segments("scene", queries[0], limit=K, filter=vp.Filter())
        # Milvus Lite may merge its files when opened, which rebuilds the snapshot.
        index._inner._store.count(COLLECTION)
        index._inner.refresh_snapshots()
        for camera in (None, CAMERA):
            print_comparison(camera, list(compare(ways(folder, index, vectors, client, camera), queries, runs)))
        parts = ((name, f"{wall:.2f}", f"{cpu:.2f}") for name, wall, cpu in whole_query(index, runs))
        table(("a text query in the running process", "ms", "CPU ms"), parts)
    if client:
        client.close()
    table(("in a new process", "s", "peak, MiB", "of it mapped, MiB", "on disk, MB"), footprints(folder))
    opening = f"from pymilvus import MilvusClient; MilvusClient({str(ours)!r}).load_collection('footage__scene')"
    commands = {
        "import pymilvus, open Milvus Lite, load": [sys.executable, "-c", opening],
        "var-plugin search TEXT": [sys.executable, "-m", "var_plugin", "search", TEXTS[0], "--index", str(ours)],
        "import torch, for comparison": [sys.executable, "-c", "import torch"],
    }
    rows = ((name, f"{seconds:.2f}", f"{share:.2f}") for name, seconds, share in cold(commands, min(runs, 5)))
    table(("in a new process", "s", "× the first"), rows)


def main() -> None:
    """Parse the arguments and measure each size."""
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
