"""Find clips by text with pymilvus: python pymilvus_collection.py SUITE QUERY STORE.db CLIP..."""

import sys

from pymilvus import MilvusClient

from var_plugin.encoders.functions.milvus import MilvusEmbeddingFunction

if len(sys.argv) < 5:
    sys.exit("usage: python pymilvus_collection.py SUITE QUERY STORE.db CLIP...")
suite, query, store, *clips = sys.argv[1:]
function = MilvusEmbeddingFunction(suite)
client = MilvusClient(store)
if client.has_collection("clips"):
    client.drop_collection("clips")  # a second run replaces the clips
client.create_collection("clips", dimension=function.dim, metric_type="IP", auto_id=True)
vectors = function.encode("video", clips)
client.insert("clips", [{"vector": vector, "clip": clip} for clip, vector in zip(clips, vectors, strict=True)])
best = client.search("clips", function.encode_queries([query]), limit=1, output_fields=["clip"])[0][0]
print(f"{best['entity']['clip']}: {best['distance']:.3f}")
client.close()
