"""Time listing anomalies and scoring rows again on a large index.

    python benchmarks/anomaly_rows.py [--rows 100000] [--folder FOLDER]

The rows are synthetic vectors of the size of the lite suite, around one centre per video and with a random share of
a sentence about an event in every hundredth row. FOLDER is kept, so that a second run does not fill it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
from search_rows import VIDEO_ROWS, camera_of, synthetic_rows

import var_plugin as vp
from var_plugin.encoders.base import l2_normalize
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.rows import SegmentRows
from var_plugin.ingest.scoring import rescore, score_segments
from var_plugin.types import Filter, Segment


def fill(index: vp.Index, rows: int) -> None:
    """Store scored rows. An interrupted run is continued."""
    inner = index._inner
    memory = inner.suite.caption_memory("scene")
    sentences = inner.suite.encode("text", ["a building on fire", "a crash on a road"], space="scene")
    vectors, _ = synthetic_rows(rows, inner.suite.spaces["scene"].dim)
    noise = np.random.default_rng(1)
    for number in range(len(index.videos()), rows // VIDEO_ROWS):
        part = vectors[number * VIDEO_ROWS : (number + 1) * VIDEO_ROWS].copy()
        for row in range(number % 100, VIDEO_ROWS, 100):
            part[row] += noise.uniform(0, 2) * sentences[row % 2]
        part = l2_normalize(part)
        segments = [
            Segment(start=8.0 * row, end=8.0 * row + 8, key=8.0 * row, novelty=round(float(noise.random() ** 4), 3),
                    trained={"fighting": round(float(noise.random() ** 6), 3)})
            for row in range(VIDEO_ROWS)
        ]  # fmt: skip
        entry = Entry(
            video_id=f"{number:016x}", state="committed", content=f"{number}",
            sightings=(Sighting(path=f"/footage/{number}.mp4", camera=camera_of(number), recorded_at=8_000 * number),),
            duration=8.0 * VIDEO_ROWS, metadata={}, settings="benchmark", rows={"scene": VIDEO_ROWS}, added_at=number,
        )  # fmt: skip
        scored = score_segments(segments, part, memory, 0.0)
        inner._store.write("footage__scene", SegmentRows(entry, scored, part))
        with patch.object(inner._store, "flush"):
            inner._videos.put(entry)
    for collection in ("footage__scene", "footage__videos"):
        inner._store.flush(collection)


def time_rescoring(index: vp.Index, occasion: str) -> None:
    """Score all rows again and print the wall time and the processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    done = rescore(index._inner)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    sys.stdout.write(f"{occasion}: {wall:.1f} s ({processor:.1f} s of processor time), {done.rows} rows changed\n")


def main() -> None:
    """Print the median times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        with vp.open_index(folder / "anomalies.db", suite="lite", create=True) as index:
            started = time.perf_counter()
            fill(index, options.rows)
            sys.stdout.write(f"filled with {options.rows} rows in {time.perf_counter() - started:.0f} s\n")
            index._inner._store.snapshots.refresh("footage__scene", force=True)
            index._inner._store.snapshots.refresh("footage__videos", force=True)
            of_camera = {"filter": Filter(cameras=("camera3",))}
            for name, arguments in {"all": {}, "of one kind": {"kinds": ["fire"]}, "of one camera": of_camera}.items():
                times = []
                for _ in range(21):
                    started = time.perf_counter()
                    moments = index.anomalies(20, **arguments)
                    times.append(time.perf_counter() - started)
                sys.stdout.write(
                    f"anomalies(k=20), {name}: {1000 * median(times):.1f} ms, {len(moments)} moments" + "\n"
                )
            for kind, sentence in (("alarm", "a ladder at the fence"), ("normal", "a building on fire")):
                example = index.add_example(kind, sentence, rescore=False)
                time_rescoring(index, f"after the {kind} sentence '{sentence}'")
                index.remove_example(example.id, rescore=False)
                time_rescoring(index, "after its removal")


if __name__ == "__main__":
    main()
