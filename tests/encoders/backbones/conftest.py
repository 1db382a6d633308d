"""Settings for tiny checkpoints: a folder of models, no network access, the CPU, and several data types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from var_plugin.config import settings


@pytest.fixture
def configured(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Use the folder of the module's fixture `models`, no network access, and the CPU."""
    monkeypatch.setenv("VAR_PLUGIN_MODEL_DIR", str(models))
    monkeypatch.setenv("VAR_PLUGIN_DEVICE", "cpu")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest, configured: pytest.MonkeyPatch) -> str:
    """Run the test in each data type, and return its name."""
    configured.setenv("VAR_PLUGIN_DTYPE", request.param)
    settings.cache_clear()
    return str(request.param)
