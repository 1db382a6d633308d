"""The schemas of the two kinds of collection: the segments of a space, and the catalog of videos.

Every value that is filtered by has a field of its own. There are no dynamic fields and no nullable vectors: Milvus Lite
stores a missing vector as zeros and returns it in searches.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Row = dict[str, Any]
"""Values by field name."""

ID_LENGTH = 64
ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
"""Pattern of video ids and names of spaces. They are safe in file names and in expressions."""
TEXT_LENGTH = 4_096  # bytes; `check_text` accepts 1,000 characters of up to four bytes


_ID = re.compile(ID_PATTERN.replace("$", r"\Z"))


def is_id(value: object) -> bool:
    """Return whether a value is a valid video id."""
    return isinstance(value, str) and _ID.match(value) is not None


def segment_schema(dim: int, *, by_camera: bool = False) -> CollectionSchema:
    """Return the schema of a collection of segments.

    Times are in milliseconds: `start_ms`, `end_ms` and `key_ms` (the key frame) from the start of the video,
    `recorded_at` since 1970 UTC at the start of the segment, -1 if unknown. `events` and `trained` are scores per kind
    of event, as in `Segment`.

    Args:
        dim: dimension of the vectors.
        by_camera: use the camera as the partition key, which speeds up searches in one camera.
    """
    from pymilvus import CollectionSchema, DataType, FieldSchema

    return CollectionSchema(
        [
            FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=ID_LENGTH),
            FieldSchema("video_id", DataType.VARCHAR, max_length=ID_LENGTH),
            FieldSchema("camera", DataType.VARCHAR, max_length=TEXT_LENGTH, is_partition_key=by_camera),
            FieldSchema("kind", DataType.VARCHAR, max_length=16),
            FieldSchema("start_ms", DataType.INT64),
            FieldSchema("end_ms", DataType.INT64),
            FieldSchema("key_ms", DataType.INT64),
            FieldSchema("recorded_at", DataType.INT64),
            FieldSchema("anomaly", DataType.DOUBLE),
            FieldSchema("novelty", DataType.DOUBLE),
            FieldSchema("events", DataType.JSON),
            FieldSchema("trained", DataType.JSON),
            FieldSchema("reason", DataType.VARCHAR, max_length=TEXT_LENGTH),
            FieldSchema("metadata", DataType.JSON),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dim),
        ]
    )


def catalog_schema() -> CollectionSchema:
    """Return the schema of the catalog; see `var_plugin.index.catalog`. `path` is the latest sighting of a video."""
    from pymilvus import CollectionSchema, DataType, FieldSchema

    return CollectionSchema(
        [
            FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=ID_LENGTH),
            FieldSchema("generation", DataType.INT64),
            FieldSchema("video_id", DataType.VARCHAR, max_length=ID_LENGTH),
            FieldSchema("state", DataType.VARCHAR, max_length=16),
            FieldSchema("path", DataType.VARCHAR, max_length=TEXT_LENGTH),
            FieldSchema("body", DataType.JSON),
            # Milvus requires a vector field.
            FieldSchema("unused", DataType.FLOAT_VECTOR, dim=2),
        ]
    )
