"""Find clips by text with Chroma: python chroma_collection.py SUITE QUERY FOLDER CLIP..."""

import sys

import chromadb

from var_plugin.encoders.functions.chroma import ChromaEmbeddingFunction

if len(sys.argv) < 5:
    sys.exit("usage: python chroma_collection.py SUITE QUERY FOLDER CLIP...")
suite, query, folder, *clips = sys.argv[1:]
function = ChromaEmbeddingFunction(suite)
collection = chromadb.PersistentClient(folder).get_or_create_collection("clips", embedding_function=function)
collection.upsert(ids=clips, embeddings=function.encode("video", clips))

# Chroma stores the name of the function with the collection, so a query needs only text.
results = chromadb.PersistentClient(folder).get_collection("clips").query(query_texts=[query], n_results=1)
print(f"{results['ids'][0][0]}: {1 - results['distances'][0][0]:.3f}")
