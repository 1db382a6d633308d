"""Find clips by words with Chroma: python chroma_collection.py SUITE QUESTION FOLDER CLIP..."""

import sys

import chromadb

from var_plugin.encoders.functions.chroma import ChromaEmbeddingFunction

name, question, folder, *clips = sys.argv[1:]
function = ChromaEmbeddingFunction(name)
collection = chromadb.PersistentClient(folder).get_or_create_collection("clips", embedding_function=function)
collection.upsert(ids=clips, embeddings=function.encode("video", clips))

# Chroma restores the function from the collection: asking needs words only.
found = chromadb.PersistentClient(folder).get_collection("clips").query(query_texts=[question], n_results=1)
print(f"{found['ids'][0][0]}: {1 - found['distances'][0][0]:.3f}")
