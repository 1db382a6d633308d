"""The two kinds of collection: segments of one space, and the catalogue of videos.

Real fields for all that is filtered or grouped by; no dynamic fields, no nullable vectors (Milvus Lite stores a missing
vector as zeros and finds it).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Row = dict[str, Any]
"""A row by the names of its fields."""

ID_LENGTH = 64
ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
"""Video ids and names of spaces: safe as names of files and in expressions."""
TEXT_LENGTH = 4_096  # bytes; check_text admits 1,000 characters of up to four


_ID = re.compile(ID_PATTERN.replace("$", r"\Z"))


def is_id(value: object) -> bool:
    """Return whether a value is a possible video id."""
    return isinstance(value, str) and _ID.match(value) is not None


def segment_schema(dim: int, *, by_camera: bool = False) -> CollectionSchema:
    """Rows of one space: a vector and where it comes from.

    Times are milliseconds: `start_ms`, `end_ms`, `key_ms` from the start of the video, `recorded_at` since 1970 UTC at
    the start of the segment (-1 where unknown). With `by_camera` a server keeps the rows of a camera together, so that
    a search in one camera looks at few others.
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
            FieldSchema("metadata", DataType.JSON),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=dim),
        ]
    )


def catalog_schema() -> CollectionSchema:
    """Rows of the catalogue: one per video and generation, and one that says which generation counts.

    `path` is where a video was seen last.
    """
    from pymilvus import CollectionSchema, DataType, FieldSchema

    return CollectionSchema(
        [
            FieldSchema("id", DataType.VARCHAR, is_primary=True, max_length=ID_LENGTH),
            FieldSchema("generation", DataType.INT64),
            FieldSchema("video_id", DataType.VARCHAR, max_length=ID_LENGTH),
            FieldSchema("state", DataType.VARCHAR, max_length=16),
            FieldSchema("path", DataType.VARCHAR, max_length=TEXT_LENGTH),
            FieldSchema("body", DataType.JSON),
            # Milvus refuses a collection without a vector.
            FieldSchema("unused", DataType.FLOAT_VECTOR, dim=2),
        ]
    )
