"""Milvus: the client, the options of a collection, the local server and the snapshot of a local collection."""
