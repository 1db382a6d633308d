"""Find clips by text with LanceDB: python lancedb_table.py SUITE QUERY FOLDER CLIP..."""

import sys

import lancedb

import var_plugin as vp

if len(sys.argv) < 5:
    sys.exit("usage: python lancedb_table.py SUITE QUERY FOLDER CLIP...")
name, query, folder, *clips = sys.argv[1:]
suite = vp.load_suite(name)
vectors = suite.encode("video", clips, space="scene")
rows = [{"clip": clip, "vector": vector} for clip, vector in zip(clips, vectors, strict=True)]
table = lancedb.connect(folder).create_table("clips", rows, mode="overwrite")
vector = suite.encode("text", [query], space="scene")[0]
best = table.search(vector).distance_type("dot").limit(1).to_list()[0]
print(f"{best['clip']}: {1 - best['_distance']:.3f}")
