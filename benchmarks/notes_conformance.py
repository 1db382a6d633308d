"""Run LangChain's vector-store test suite on Milvus Lite with stock langchain-milvus and with our store.

    python benchmarks/notes_conformance.py

Each test gets an empty store. The one test of the suite that uses no store is not counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from langchain_milvus import Milvus
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from var_plugin.retrievers.vectorstore import NoteStore

STORES: dict[str, Callable[..., Any]] = {
    f"langchain-milvus {version('langchain-milvus')}": Milvus,
    "the same with enable_dynamic_field": partial(Milvus, enable_dynamic_field=True),
    "NoteStore": NoteStore,
}


class TestVectorStore(VectorStoreIntegrationTests):
    """LangChain's test suite on the given store."""

    @pytest.fixture(params=STORES)
    def vectorstore(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        """Return an empty store."""
        make = STORES[request.param]
        return make(self.get_embeddings(), connection_args={"uri": str(tmp_path / "notes.db")})


class Tally:
    """Counts the outcomes by store and collects the names of failed tests."""

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.failed: dict[str, list[str]] = {name: [] for name in STORES}

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Count a test after it was called, or if its setup failed."""
        callspec = getattr(item, "callspec", None)
        if callspec is None or (call.when != "call" and call.excinfo is None):
            return
        store = callspec.params["vectorstore"]
        if call.excinfo is None:
            self.passed[store] += 1
        elif item.name not in self.failed[store]:
            self.failed[store].append(item.name)


def main() -> None:
    """Run the suite on each store and print a table."""
    tally = Tally()
    pytest.main([__file__, "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--asyncio-mode=auto"], [tally])
    rows = [f"| {name} | {tally.passed[name]} | {tally.passed[name] + len(tally.failed[name])} |" for name in STORES]
    sys.stdout.write("\n".join(["", "| store | passed | of |", "|---|--:|--:|", *rows]) + "\n")


if __name__ == "__main__":
    main()
