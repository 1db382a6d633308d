"""Store incident notes and find them by text: python langchain_notes.py SUITE QUERY STORE.db NOTE..."""

import sys

from langchain_core.documents import Document

from var_plugin.encoders.functions.langchain import SuiteEmbeddings
from var_plugin.retrievers.vectorstore import NoteStore

if len(sys.argv) < 5:
    sys.exit("usage: python langchain_notes.py SUITE QUERY STORE.db NOTE...")
suite, query, store, *notes = sys.argv[1:]
documents = [Document(id=f"note-{number}", page_content=note) for number, note in enumerate(notes)]
note_store = NoteStore.from_documents(documents, SuiteEmbeddings(suite), connection_args={"uri": store})
for note, score in note_store.similarity_search_with_score(query, k=1):
    print(f"{note.id}: {note.page_content}: {score:.3f}")
