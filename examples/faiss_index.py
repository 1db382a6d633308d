"""Find clips by text with FAISS: python faiss_index.py SUITE QUERY CLIP..."""

import sys

import faiss

import var_plugin as vp

if len(sys.argv) < 4:
    sys.exit("usage: python faiss_index.py SUITE QUERY CLIP...")
name, query, *clips = sys.argv[1:]
suite = vp.load_suite(name)
vectors = suite.encode("video", clips, space="scene")
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
scores, positions = index.search(suite.encode("text", [query], space="scene"), 1)
print(f"{clips[positions[0, 0]]}: {scores[0, 0]:.3f}")
