"""Compute the tables of `docs/scale.md`: storage, machines and cost for many cameras, and recall at a measurable size.

    python benchmarks/scale.py                                  # the tables; nothing is measured
    python benchmarks/scale.py --simulate 1000000 [--slow-build 100000] [--keep FILE]
    python benchmarks/scale.py --codes 20000                    # one byte or one bit for each dimension

`ASSUMED` has the values that were not measured, such as prices. Change them and run again. The simulation draws
segments with the distribution of the `lite` suite (mean cosine within and between videos of the demo's index). It
builds each kind of index on two threads and compares the ten nearest with exact search, without and with a filter by
camera. There are two kinds of queries: images near a segment, and texts, which are far from all segments. The search
parameters are 64 and our default of 256. --keep stores the segments of the smaller size for `diskann.py`, because faiss
has no DISKANN.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import faiss
import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import l2_normalize
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.rows import SegmentRows
from var_plugin.types import Segment

GIB = 2**30
DIMS = {"lite scene": 231, "CLIP ViT-B/32": 512, "SigLIP 2 base": 768}
"""Dimensions of the spaces."""

ROWS_PER_HOUR = 450
"""Rows of one space: a segment per 8 s, none merged and none anomaly-led."""

MEASURED = {
    "times real time, 320x240 with sound, lite, two cores": 29.2,  # README
    "times real time, decoding 320x240 on one core": 70.0,  # PyAV at two frames per second, 60 to 85
    "times real time, decoding 1080p on one core": 10.0,
    "rows written a second, Milvus Lite": 730.0,  # docs/reliability.md
    "seconds to join and cut an hour, lite": 0.66,  # CPU, of 7,200 clips
    "frames a second by one H200, CLIP ViT-B/32 and CLAP": 1_302.0,  # gpu.py: by Ray, from 16 cores, once it runs
}

ASSUMED = {
    "share of a node's memory for the index": 0.7,
    "memory of a node, GiB": 64.0,
    "price of a node with 8 cores, $ an hour": 0.50,
    "price of a core for decoding, $ an hour": 0.04,
    "price of an H200, $ an hour": 3.50,
    "price of object storage, $ per GB and month": 0.023,
    "hours in a month": 730.0,
}

FRAMES_PER_SECOND = 2
NEIGHBOURS = 10
EF_CONSTRUCTION = 200
SAME_VIDEO, OTHER_VIDEO = 0.69, 0.13
"""Mean cosines in the demo's index."""


@dataclass(frozen=True)
class Kind:
    """A kind of index: its faiss factory and its memory per vector."""

    milvus: str
    factory: str
    search: str
    """Parameters for faiss' ParameterSpace."""
    slow: bool = False
    """Whether building it takes hours for a million vectors on two cores."""

    @property
    def name(self) -> str:
        """The name in Milvus."""
        return self.milvus.replace(",", " ").split()[0]

    def bytes_per_vector(self, dim: int) -> int:
        """Return the bytes in memory: codes, and ids or links."""
        codes = dim if "SQ8" in self.factory else 4 * dim
        return codes + _BESIDE_CODES.get(self.name.partition("_")[0], 0)


_BESIDE_CODES = {"HNSW": 2 * 16 * 4 + 12, "IVF": 8}
"""Bytes of links or ids."""

_STORAGE = (
    "space", "index", "bytes a row", "memory, GiB", "nodes", "nodes, $ a month", "disk, GB", "disk, $ a month",
)  # fmt: skip
_RECALL = (
    "segments", "index", "build, s", "image", "text", "image, one camera of 20", "bytes a vector", "ms a query",
)  # fmt: skip

KINDS = (
    Kind("FLAT", "Flat", ""),
    Kind("IVF_FLAT, nprobe 64", "IVF2048,Flat", "nprobe=64"),
    Kind("IVF_FLAT, nprobe 256", "IVF2048,Flat", "nprobe=256"),
    Kind("IVF_SQ8, nprobe 64", "IVF2048,SQ8", "nprobe=64"),
    Kind("IVF_SQ8, nprobe 256", "IVF2048,SQ8", "nprobe=256"),
    Kind("HNSW M 16, ef 64", "HNSW16,Flat", "efSearch=64", slow=True),
    Kind("HNSW M 16, ef 256", "HNSW16,Flat", "efSearch=256", slow=True),
    Kind("HNSW_SQ M 16, ef 64", "HNSW16,SQ8", "efSearch=64", slow=True),
    Kind("HNSW_SQ M 16, ef 256", "HNSW16,SQ8", "efSearch=256", slow=True),
)


def scalar_bytes() -> int:
    """Return the bytes of a stored row's fields without its vector, for short names and no metadata."""
    sighting = Sighting(path="/footage/north/2026-11-01.mp4", camera="north-gate", recorded_at=1_762_000_000_000)
    entry = Entry(
        video_id="0" * 32, state="pending", content="0" * 64, sightings=(sighting,), duration=3600.0, metadata={},
        settings="0" * 16, rows={}, added_at=0,
    )  # fmt: skip
    (row,) = SegmentRows(entry, [Segment(start=0.0, end=8.0, key=4.0, anomaly=0.1)], np.zeros((1, 1), np.float32))
    sizes = {str: len, int: lambda value: 8, float: lambda value: 8, dict: lambda value: len(str(value))}
    return sum(sizes[type(value)](value) for name, value in row.items() if name != "vector")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def storage(rows: float) -> Iterator[list[str]]:
    """Yield, by space and kind of index, bytes per row, memory, nodes and their monthly price."""
    usable = ASSUMED["memory of a node, GiB"] * ASSUMED["share of a node's memory for the index"]
    for space, dim in DIMS.items():
        for kind in {kind.name: kind for kind in KINDS}.values():
            each = kind.bytes_per_vector(dim) + scalar_bytes()
            memory = rows * each / GIB
            nodes = int(np.ceil(memory / usable))
            price = nodes * ASSUMED["price of a node with 8 cores, $ an hour"] * ASSUMED["hours in a month"]
            disk = rows * (4 * dim + scalar_bytes()) / 1e9
            stored = disk * ASSUMED["price of object storage, $ per GB and month"]
            numbers = (each, memory, nodes, price, disk, stored)
            yield [space, kind.name, *(f"{number:,.0f}" for number in numbers)]


def work() -> Iterator[list[str]]:
    """Yield the work to index one day of a camera."""
    day = 86_400
    lite = day * 2 / MEASURED["times real time, 320x240 with sound, lite, two cores"]
    core = ASSUMED["price of a core for decoding, $ an hour"] / 3_600
    month = ASSUMED["hours in a month"] / 24
    yield ["lite on cores, 320x240, all of it", f"{lite:,.0f}", "0", f"{lite * core * month:.2f}"]
    gpu = day * FRAMES_PER_SECOND / MEASURED["frames a second by one H200, CLIP ViT-B/32 and CLAP"]
    gpu_price = gpu * ASSUMED["price of an H200, $ an hour"] / 3_600
    for size in ("320x240", "1080p"):
        cores = day / MEASURED[f"times real time, decoding {size} on one core"]
        price = (cores * core + gpu_price) * month
        yield [f"CLIP ViT-B/32 and CLAP on an H200, {size}", f"{cores:,.0f}", f"{gpu:,.0f}", f"{price:.2f}"]


def arithmetic() -> str:
    """Return the tables."""
    text = f"Fields beside the vector: {scalar_bytes()} bytes a row.\n\n"
    for rows in (1e6, 1e8, 1e9):
        hours = rows / ROWS_PER_HOUR
        text += f"{rows:,.0f} segments of one space: {hours:,.0f} camera-hours, {hours / 8_760:,.2f} camera-years\n\n"
        text += table([*_STORAGE], list(storage(rows))) + "\n"
    text += table(["a camera's day", "core seconds", "GPU seconds", "$ a month for each camera"], list(work())) + "\n"
    writing = ROWS_PER_HOUR / MEASURED["rows written a second, Milvus Lite"]
    cameras = 3_600 / (writing + MEASURED["seconds to join and cut an hour, lite"])
    text += f"The process that joins and writes keeps up with {cameras:,.0f} cameras, one space, Milvus Lite.\n\n"
    text += table(["assumed", "value"], [[name, f"{value:g}"] for name, value in ASSUMED.items()])
    return text


def segments(rows: int, dim: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw unit vectors (rows, dim) clustered by video, and the video of each (rows,)."""
    video = np.repeat(np.arange(rows), rng.integers(8, 450, rows).clip(max=rows))[:rows]
    shared, own = np.sqrt(OTHER_VIDEO), np.sqrt(SAME_VIDEO - OTHER_VIDEO)
    common = l2_normalize(rng.normal(size=(1, dim)))
    centres = l2_normalize(rng.normal(size=(video[-1] + 1, dim)))
    drawn = np.empty((rows, dim), np.float32)
    for first in range(0, rows, 100_000):
        part = slice(first, first + 100_000)
        noise = l2_normalize(rng.normal(size=(len(video[part]), dim)))
        drawn[part] = l2_normalize(shared * common + own * centres[video[part]] + np.sqrt(1 - SAME_VIDEO) * noise)
    return drawn, video


def queries(vectors: NDArray[np.float32], rng: np.random.Generator, near: bool, count: int) -> NDArray[np.float32]:
    """Draw queries (count, dim): near a segment (cosine 0.9), or as far as texts are (0.3)."""
    cosine = 0.9 if near else 0.3
    chosen = vectors[rng.integers(0, len(vectors), count)]
    noise = l2_normalize(rng.normal(size=chosen.shape))
    return l2_normalize(cosine * chosen + np.sqrt(1 - cosine**2) * noise)


def recall(results: NDArray[np.int64], exact: NDArray[np.int64]) -> float:
    """Return the mean share of the exact ten nearest that were found."""
    return float(np.mean([len(set(f) & set(e)) / len(e) for f, e in zip(results, exact, strict=True)]))


def simulate(rows: int, slow_rows: int, keep: Path | None, count: int = 200) -> Iterator[str]:
    """Yield the lines of a table with recall and time by kind of index."""
    yield "recall@10 against exact search; times of one query at a time, medians\n\n" + table([*_RECALL], [])
    rng = np.random.default_rng(5)
    dim = DIMS["lite scene"]
    faiss.omp_set_num_threads(2)
    for size in sorted({rows, min(rows, slow_rows)}, reverse=True):
        vectors, video = segments(size, dim, rng)
        by_kind = {near: queries(vectors, rng, near, count) for near in (True, False)}
        camera = np.flatnonzero(video % 20 == 0)  # whole videos: one camera in twenty
        exact = faiss.IndexFlatIP(dim)
        exact.add(vectors)
        exact_results = {near: exact.search(by_kind[near], NEIGHBOURS)[1] for near in by_kind}
        if keep and size <= slow_rows:
            np.savez(keep, vectors=vectors, **{f"{name}_{near}": arrays[near] for near in by_kind
                     for name, arrays in (("queries", by_kind), ("exact", exact_results))})  # fmt: skip
        part = faiss.IndexFlatIP(dim)
        part.add(vectors[camera])
        of_camera = camera[part.search(by_kind[True], NEIGHBOURS)[1]]
        built: dict[str, tuple[faiss.Index, float]] = {}
        for kind in KINDS:
            if kind.slow and size > slow_rows:
                continue
            if kind.factory not in built:
                started = time.perf_counter()
                index = faiss.index_factory(dim, kind.factory, faiss.METRIC_INNER_PRODUCT)
                if kind.slow:
                    faiss.ParameterSpace().set_index_parameter(index, "efConstruction", EF_CONSTRUCTION)
                index.train(vectors[rng.choice(size, min(size, 100_000), replace=False)])
                index.add(vectors)
                built[kind.factory] = index, time.perf_counter() - started
            index, seconds = built[kind.factory]
            if kind.search:
                faiss.ParameterSpace().set_index_parameters(index, kind.search)
            shares = _row(index, kind, by_kind, exact_results, camera, of_camera)
            yield table([f"{size:,}", kind.milvus, f"{seconds:.0f}", *shares], []).partition("\n")[0] + "\n"


CODES = (
    ("one byte (IVF_SQ8)", "IVF256,SQ8", ""),
    ("one bit (IVF_RABITQ)", "IVF256,RaBitQ", ""),
    ("one bit, 4 × candidates rescored by bytes", "IVF256,RaBitQ,Refine(SQ8)", ",k_factor_rf=4"),
    ("one bit, 10 × candidates rescored by bytes", "IVF256,RaBitQ,Refine(SQ8)", ",k_factor_rf=10"),
    ("one bit, 10 × candidates rescored by float32", "IVF256,RaBitQ,RFlat", ",k_factor_rf=10"),
)
"""Quantised vectors, with their faiss factory and search parameters. All lists are read: only the codes cost recall."""


def quantization(rows: int, count: int = 200) -> Iterator[str]:
    """Yield the lines of a table with the recall and size of quantised vectors."""
    yield table(["dimensions", "codes", "image", "text", "bytes a vector", "ms a query"], [])
    faiss.omp_set_num_threads(1)
    for dim in (DIMS["lite scene"], DIMS["SigLIP 2 base"], 2_048):
        rng = np.random.default_rng(5)
        vectors, _ = segments(rows, dim, rng)
        by_kind = {near: queries(vectors, rng, near, count) for near in (True, False)}
        exact = faiss.IndexFlatIP(dim)
        exact.add(vectors)
        for name, factory, parameters in CODES:
            index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors)
            index.add(vectors)
            faiss.ParameterSpace().set_index_parameters(index, f"nprobe=256{parameters}")
            shares = [
                recall(index.search(some, NEIGHBOURS)[1], exact.search(some, NEIGHBOURS)[1])
                for some in by_kind.values()
            ]
            size = len(faiss.serialize_index(index)) / rows
            numbers = [
                *(f"{share:.3f}" for share in shares),
                f"{size:.0f}",
                f"{_milliseconds(index, by_kind[True]):.2f}",
            ]
            yield table([str(dim), name, *numbers], []).partition("\n")[0] + "\n"


def _row(index: faiss.Index, kind: Kind, queries: dict[bool, NDArray[np.float32]], exact: dict[bool, NDArray[np.int64]],
         camera: NDArray[np.int64], of_camera: NDArray[np.int64]) -> list[str]:  # fmt: skip
    results = {near: index.search(queries[near], NEIGHBOURS)[1] for near in queries}
    selector = faiss.IDSelectorBatch(camera)
    if kind.factory == "Flat":
        limits = faiss.SearchParameters(sel=selector)
    elif kind.factory.startswith("IVF"):
        limits = faiss.SearchParametersIVF(sel=selector, nprobe=int(kind.search.partition("=")[2]))
    else:
        limits = faiss.SearchParametersHNSW(sel=selector, efSearch=int(kind.search.partition("=")[2]))
    filtered = index.search(queries[True], NEIGHBOURS, params=limits)[1]
    size = len(faiss.serialize_index(index)) / index.ntotal
    shares = [recall(results[True], exact[True]), recall(results[False], exact[False]), recall(filtered, of_camera)]
    return [*(f"{share:.3f}" for share in shares), f"{size:.0f}", f"{_milliseconds(index, queries[True]):.2f}"]


def _milliseconds(index: faiss.Index, queries: NDArray[np.float32]) -> float:
    times = []
    for query in queries[:50]:
        started = time.perf_counter()
        index.search(query[None], NEIGHBOURS)
        times.append(time.perf_counter() - started)
    return 1e3 * median(times)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", type=int, metavar="SEGMENTS", help="measure recall with this many segments")
    parser.add_argument("--slow-build", type=int, default=100_000, help="maximum number of segments for HNSW")
    parser.add_argument("--keep", type=Path, help="file for the segments and queries of the smaller size")
    parser.add_argument(
        "--codes", type=int, metavar="SEGMENTS", help="measure quantised vectors with this many segments"
    )
    arguments = parser.parse_args()
    lines: Iterable[str] = [arithmetic()]
    if arguments.simulate:
        lines = simulate(arguments.simulate, arguments.slow_build, arguments.keep)
    elif arguments.codes:
        lines = quantization(arguments.codes)
    for text in lines:
        sys.stdout.write(text)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
