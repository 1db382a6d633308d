"""Give LangChain a retriever over indexed footage: python langchain_retriever.py INDEX "people riding bicycles"."""

import sys

import var_plugin as vp

location, question = sys.argv[1:]
with vp.open_index(location, suite="lite") as index:
    retriever = vp.AnomalyRetriever(index=index, k=2)
    for document in retriever.invoke(question):
        print(document.page_content)
