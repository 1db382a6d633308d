"""Find incident notes by text with langchain-milvus:

python langchain_milvus_notes.py SUITE QUERY STORE.db NOTE...
"""

import sys

from langchain_milvus import Milvus

from var_plugin.encoders.functions.langchain import SuiteEmbeddings

if len(sys.argv) < 5:
    sys.exit("usage: python langchain_milvus_notes.py SUITE QUERY STORE.db NOTE...")
suite, query, store, *notes = sys.argv[1:]
milvus = Milvus(
    SuiteEmbeddings(suite),
    connection_args={"uri": store},
    index_params={"index_type": "FLAT", "metric_type": "IP"},
    auto_id=True,
    drop_old=True,  # a second run replaces the notes
)
milvus.add_texts(notes)
for note, score in milvus.similarity_search_with_score(query, k=1):
    print(f"{note.page_content}: {score:.3f}")
