"""Keep incident notes and find them by meaning: python langchain_notes.py SUITE QUESTION STORE.db NOTE..."""

import sys

from langchain_core.documents import Document

from var_plugin.encoders.functions.langchain import SuiteEmbeddings
from var_plugin.retrievers.vectorstore import NoteStore

name, question, store, *notes = sys.argv[1:]
documents = [Document(id=f"note-{number}", page_content=note) for number, note in enumerate(notes)]
with_notes = NoteStore.from_documents(documents, SuiteEmbeddings(name), connection_args={"uri": store})
for note, score in with_notes.similarity_search_with_score(question, k=1):
    print(f"{note.id}: {note.page_content}: {score:.3f}")
