"""The index: one Milvus collection per space, and a catalog of videos."""
