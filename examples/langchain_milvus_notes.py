"""Find incident notes by words with langchain-milvus:

python langchain_milvus_notes.py SUITE QUESTION STORE.db NOTE...
"""

import sys

from langchain_milvus import Milvus

from var_plugin.encoders.functions.langchain import SuiteEmbeddings

name, question, store, *notes = sys.argv[1:]
milvus = Milvus(
    SuiteEmbeddings(name),
    connection_args={"uri": store},
    index_params={"index_type": "FLAT", "metric_type": "IP"},
    auto_id=True,
)
milvus.add_texts(notes)
for note, score in milvus.similarity_search_with_score(question, k=1):
    print(f"{note.page_content}: {score:.3f}")
