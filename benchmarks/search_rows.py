"""Create synthetic rows for the search benchmarks.

They are unit vectors around a centre per video of 250 segments, on 20 cameras.
"""

from __future__ import annotations

import hashlib
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

import var_plugin as vp
from var_plugin.encoders.base import l2_normalize
from var_plugin.index.catalog import Entry, Sighting
from var_plugin.index.rows import SegmentRows
from var_plugin.types import Segment

VIDEO_ROWS = 250
CAMERAS = 20
CAMERA = "camera3"
COLLECTION = "footage__scene"
Array = NDArray[Any]


def synthetic_rows(count: int, dim: int) -> tuple[Array, Array]:
    """Return unit vectors (count, dim), grouped by video, and the centres of the videos."""
    noise = np.random.default_rng(0)
    centres = noise.standard_normal((count // VIDEO_ROWS, dim)).astype(np.float32)
    vectors = np.repeat(centres, VIDEO_ROWS, axis=0)
    vectors += 0.7 * noise.standard_normal(vectors.shape).astype(np.float32)
    return l2_normalize(vectors), centres


def camera_of(video: int) -> str:
    """Return the camera of a video."""
    return f"camera{video % CAMERAS}"


def fill_ours(index: vp.Index, vectors: Array) -> None:
    """Store the vectors as segments of videos; continue an interrupted run.

    Videos are committed in groups of a hundred and without the row counts of ingest, for which Milvus Lite scans all
    rows.
    """
    collection, store = index._inner._collection("scene"), index._inner._store
    for video in range(len(index.videos()), len(vectors) // VIDEO_ROWS):
        video_id = f"{video:016x}"
        entry = Entry(
            video_id=video_id, state="committed", content=hashlib.sha256(video_id.encode()).hexdigest(),
            sightings=(Sighting(path=f"/footage/{video}.mp4", camera=camera_of(video), recorded_at=-1),),
            duration=8.0 * VIDEO_ROWS, metadata={}, settings="benchmark", rows={"scene": VIDEO_ROWS}, added_at=video,
        )  # fmt: skip
        segments = [Segment(start=8.0 * row, end=8.0 * row + 8, key=8.0 * row) for row in range(VIDEO_ROWS)]
        store.write(collection, SegmentRows(entry, segments, vectors[video * VIDEO_ROWS : (video + 1) * VIDEO_ROWS]))
        with patch.object(store, "flush"):
            index._inner._videos.put(entry)
        if (video + 1) * VIDEO_ROWS in (len(vectors), *range(0, len(vectors), 100 * VIDEO_ROWS)):
            store.flush(collection)
            store.flush("footage__videos")


def fill_raw(client: MilvusClient, name: str, kind: str, vectors: Array) -> None:
    """Store the vectors in a collection with an index of the given kind; continue an interrupted run."""
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
