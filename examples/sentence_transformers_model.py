"""Find clips by words with sentence-transformers:

python sentence_transformers_model.py SUITE QUESTION FOLDER CLIP...
"""

import sys

from sentence_transformers import SentenceTransformer

from var_plugin.encoders.functions.sentence_transformers import suite_router

name, question, folder, *clips = sys.argv[1:]
SentenceTransformer(modules=[suite_router(name)], similarity_fn_name="dot").save(folder)

# Whoever has the folder, and var-plugin installed, has the model.
model = SentenceTransformer(folder, trust_remote_code=True)
scores = model.similarity(model.encode_query(question), model.encode_document(clips))[0]
print(f"{clips[int(scores.argmax())]}: {float(scores.max()):.3f}")
