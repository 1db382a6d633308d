"""Making a collection with its index as it is wanted, and telling how one is kept that is there already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from var_plugin.index.milvus_options import MilvusOptions

if TYPE_CHECKING:
    from pymilvus import CollectionSchema, MilvusClient

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """How a server keeps a collection."""

    index: str = "FLAT"
    by_camera: bool = False


def make(
    client: MilvusClient,
    collection: str,
    schema: Callable[[], CollectionSchema],
    *,
    vector: str,
    metric: str,
    wanted: MilvusOptions,
) -> None:
    """Make a collection and its index, or what is missing of them."""
    if not client.has_collection(collection):
        spread = {"num_partitions": wanted.partitions} if wanted.partitions else {}
        try:
            client.create_collection(collection, schema=schema(), consistency_level=wanted.consistency, **spread)
        except Exception:  # another process may have been faster
            if not client.has_collection(collection):
                raise
    if not client.list_indexes(collection):
        indexes = client.prepare_index_params()
        indexes.add_index(field_name=vector, index_type=wanted.index, metric_type=metric, params=wanted.build)
        # It holds no rows yet, so there is nothing to wait for; pymilvus would sleep half a second before it asks.
        client.create_index(collection, indexes, sync=False)


def look(client: MilvusClient, collection: str, vector: str, wanted: MilvusOptions) -> Kept:
    """Return how a collection is kept; log it where that is not what is wanted now."""
    (name,) = client.list_indexes(collection, field_name=vector)
    fields = client.describe_collection(collection)["fields"]
    kept = Kept(
        str(client.describe_index(collection, name)["index_type"]),
        any(field.get("is_partition_key") for field in fields),
    )
    if kept != Kept(wanted.index, bool(wanted.partitions)):
        spread = ", spread by camera" if kept.by_camera else ""
        logger.warning(
            "'%s' was made with index %s%s and stays so; reindex makes it anew", collection, kept.index, spread
        )
    return kept
