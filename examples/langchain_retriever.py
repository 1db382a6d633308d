"""Retrieve moments of indexed footage with LangChain: python langchain_retriever.py INDEX "people riding bicycles"."""

import sys

import var_plugin as vp

if len(sys.argv) != 3:
    sys.exit("usage: python langchain_retriever.py INDEX QUERY")
location, query = sys.argv[1:]
with vp.open_index(location) as index:
    retriever = vp.AnomalyRetriever(index=index, k=2)
    for document in retriever.invoke(query):
        print(document.page_content)
