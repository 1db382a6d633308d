"""The indexed footage of the retriever tests, shared with the tests of the tools."""

from tests.retrievers.conftest import footage

__all__ = ["footage"]
