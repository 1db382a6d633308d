"""Search an index for moments, rerank them, and integrate them into LangChain."""
