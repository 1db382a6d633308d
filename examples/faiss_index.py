"""Find clips by words with FAISS: python faiss_index.py SUITE QUESTION CLIP..."""

import sys

import faiss

import var_plugin as vp

name, question, *clips = sys.argv[1:]
suite = vp.load_suite(name)
vectors = suite.encode("video", clips, space="scene")
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
scores, places = index.search(suite.encode("text", [question], space="scene"), 1)
print(f"{clips[places[0, 0]]}: {scores[0, 0]:.3f}")
