"""Recall of DISKANN, as a Milvus server builds it by default, on the segments that `scale.py --keep FILE` drew.

    python -m venv diskann && diskann/bin/pip install diskannpy
    diskann/bin/python benchmarks/diskann.py FILE

An environment of its own, for diskannpy wants an old NumPy; nothing of var-plugin is needed. Milvus' defaults: degree
56, search list of 100 while building, codes of an eighth of the vectors in memory. On vectors of length one the order
by L2 is that by inner product.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import diskannpy
import numpy as np

DEGREE, BUILDING, CODES = 56, 100, 0.125
NEIGHBOURS = 10
EFFORTS = (64, 256)
THREADS = 2


def main() -> None:
    """Print rows of the table of `scale.py`."""
    drawn = np.load(sys.argv[1])
    vectors = drawn["vectors"]
    count, dim = vectors.shape
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        diskannpy.build_disk_index(
            vectors, "l2", folder, complexity=BUILDING, graph_degree=DEGREE, num_threads=THREADS, pq_disk_bytes=0,
            search_memory_maximum=CODES * vectors.nbytes / 2**30, build_memory_maximum=8.0, index_prefix="made",
        )  # fmt: skip
        seconds = time.perf_counter() - started
        disk = sum(file.stat().st_size for file in Path(folder).iterdir()) / count
        index = diskannpy.StaticDiskIndex(
            folder, num_threads=THREADS, num_nodes_to_cache=0, distance_metric="l2", vector_dtype=np.float32,
            dimensions=dim, index_prefix="made",
        )  # fmt: skip
        for effort in EFFORTS:
            shares, times = [], []
            for near in (True, False):
                for query, wanted in zip(drawn[f"asked_{near}"], drawn[f"wanted_{near}"], strict=True):
                    began = time.perf_counter()
                    found, _ = index.search(query, k_neighbors=NEIGHBOURS, complexity=effort, beam_width=4)
                    times.append(time.perf_counter() - began)
                    shares.append(len(set(found.tolist()) & set(wanted.tolist())) / NEIGHBOURS)
            image, text = np.mean(np.reshape(shares, (2, -1)), axis=1)
            sys.stderr.write(
                f"| {count:,} | DISKANN, search_list {effort} | {seconds:.0f} | {image:.3f} | {text:.3f} | - "
                f"| {CODES * 4 * dim:.0f}; {disk:.0f} on disk | {1e3 * median(times):.2f} |\n"
            )


if __name__ == "__main__":
    main()
