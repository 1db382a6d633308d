"""Find clips by words with LanceDB: python lancedb_table.py SUITE QUESTION FOLDER CLIP..."""

import sys

import lancedb

import var_plugin as vp

name, question, folder, *clips = sys.argv[1:]
suite = vp.load_suite(name)
vectors = suite.encode("video", clips, space="scene")
rows = [{"clip": clip, "vector": vector} for clip, vector in zip(clips, vectors, strict=True)]
table = lancedb.connect(folder).create_table("clips", rows, mode="overwrite")
query = suite.encode("text", [question], space="scene")[0]
best = table.search(query).distance_type("dot").limit(1).to_list()[0]
print(f"{best['clip']}: {1 - best['_distance']:.3f}")
