"""Measure the recall of DISKANN with Milvus' defaults on the segments that `scale.py --keep FILE` stored.

    python -m venv diskann && diskann/bin/pip install diskannpy
    diskann/bin/python benchmarks/diskann.py FILE

It needs an environment of its own, because diskannpy requires an old NumPy; var-plugin is not used. Milvus' defaults
are degree 56, a search list of 100 while building, and codes of an eighth of the vectors' size in memory. For
L2-normalised vectors, the order by L2 distance is that by inner product.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import diskannpy
import numpy as np

DEGREE, BUILD_COMPLEXITY, CODES = 56, 100, 0.125
NEIGHBOURS = 10
EFFORTS = (64, 256)
THREADS = 2


def main() -> None:
    """Print rows for the table of `scale.py`."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python benchmarks/diskann.py FILE")
    arrays = np.load(sys.argv[1])
    vectors = arrays["vectors"]
    count, dim = vectors.shape
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        diskannpy.build_disk_index(
            vectors, "l2", folder, complexity=BUILD_COMPLEXITY, graph_degree=DEGREE, num_threads=THREADS,
            pq_disk_bytes=0, search_memory_maximum=CODES * vectors.nbytes / 2**30, build_memory_maximum=8.0,
            index_prefix="index",
        )  # fmt: skip
        seconds = time.perf_counter() - started
        disk = sum(file.stat().st_size for file in Path(folder).iterdir()) / count
        index = diskannpy.StaticDiskIndex(
            folder, num_threads=THREADS, num_nodes_to_cache=0, distance_metric="l2", vector_dtype=np.float32,
            dimensions=dim, index_prefix="index",
        )  # fmt: skip
        for effort in EFFORTS:
            shares, times = [], []
            for near in (True, False):
                for query, exact in zip(arrays[f"queries_{near}"], arrays[f"exact_{near}"], strict=True):
                    start = time.perf_counter()
                    results, _ = index.search(query, k_neighbors=NEIGHBOURS, complexity=effort, beam_width=4)
                    times.append(time.perf_counter() - start)
                    shares.append(len(set(results.tolist()) & set(exact.tolist())) / NEIGHBOURS)
            image, text = np.mean(np.reshape(shares, (2, -1)), axis=1)
            sys.stderr.write(
                f"| {count:,} | DISKANN, search_list {effort} | {seconds:.0f} | {image:.3f} | {text:.3f} | - "
                f"| {CODES * 4 * dim:.0f}; {disk:.0f} on disk | {1e3 * median(times):.2f} |\n"
            )


if __name__ == "__main__":
    main()
