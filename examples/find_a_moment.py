"""Index a folder of footage and ask for a moment: python find_a_moment.py FOLDER "people riding bicycles"."""

import sys

import var_plugin as vp

folder, question = sys.argv[1:]
with vp.open_index("my-footage.db", suite="lite") as index:
    receipt = index.add(folder)
    for video in receipt.videos:
        print(video.status, video.path, video.reason or video.verified)
    for moment in index.search(question, k=3):
        print(f"{moment.camera}: {moment.start:.1f} s to {moment.end:.1f} s, score {moment.score:.2f} ({moment.uri})")
