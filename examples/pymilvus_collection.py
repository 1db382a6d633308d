"""Find clips by words with pymilvus: python pymilvus_collection.py SUITE QUESTION STORE.db CLIP..."""

import sys

from pymilvus import MilvusClient

from var_plugin.encoders.functions.milvus import MilvusEmbeddingFunction

name, question, store, *clips = sys.argv[1:]
function = MilvusEmbeddingFunction(name)
client = MilvusClient(store)
client.create_collection("clips", dimension=function.dim, metric_type="IP", auto_id=True)
vectors = function.encode("video", clips)
client.insert("clips", [{"vector": vector, "clip": clip} for clip, vector in zip(clips, vectors, strict=True)])
best = client.search("clips", function.encode_queries([question]), limit=1, output_fields=["clip"])[0][0]
print(f"{best['entity']['clip']}: {best['distance']:.3f}")
client.close()
