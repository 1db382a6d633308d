"""Milvus: the client, the options of a collection, the local server and the snapshots of local collections."""
