"""Find clips by text with sentence-transformers:

python sentence_transformers_model.py SUITE QUERY FOLDER CLIP...
"""

import sys

from sentence_transformers import SentenceTransformer

from var_plugin.encoders.functions.sentence_transformers import suite_router

if len(sys.argv) < 5:
    sys.exit("usage: python sentence_transformers_model.py SUITE QUERY FOLDER CLIP...")
suite, query, folder, *clips = sys.argv[1:]
SentenceTransformer(modules=[suite_router(suite)], similarity_fn_name="dot").save(folder)

# The folder is a complete model for anyone who has var-plugin installed.
model = SentenceTransformer(folder, trust_remote_code=True)
scores = model.similarity(model.encode_query(query), model.encode_document(clips))[0]
print(f"{clips[int(scores.argmax())]}: {float(scores.max()):.3f}")
