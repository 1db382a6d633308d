from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.contract import StoreContract


class TestMilvusLite(StoreContract):
    @pytest.fixture
    def location(self, tmp_path: Path) -> str:
        return str(tmp_path / "index.db")
