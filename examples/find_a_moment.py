"""Index a folder of footage and search it: python find_a_moment.py FOLDER "people riding bicycles"."""

import sys

import var_plugin as vp

if len(sys.argv) != 3:
    sys.exit("usage: python find_a_moment.py FOLDER QUERY")
folder, query = sys.argv[1:]
with vp.open_index("my-footage.db", suite="lite", create=True) as index:
    receipt = index.add(folder)
    for video in receipt.videos:
        print(video.status, video.path, video.reason or video.verified)
    for moment in index.search(query, k=3):
        print(f"{moment.camera}: {moment.start:.1f} s to {moment.end:.1f} s, score {moment.score:.2f} ({moment.uri})")
