from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.encoders.backbones.published import random_weights
from var_plugin.config import settings
from var_plugin.encoders.convert import PUBLISHED
from var_plugin.encoders.onnx import exported, graph_file, runner


def test_onnx_runtime_gives_the_outputs_of_the_network(tmp_path: Path) -> None:
    published = PUBLISHED["vggish"]
    assert published.exported is not None
    network = published.network().eval()
    network.load_state_dict(random_weights("vggish"))
    run = runner("vggish", lambda: exported(network, published.exported), tmp_path)
    for count in (1, 3):
        inputs = torch.rand(count, *published.exported)
        with torch.inference_mode():
            expected = network(inputs)
        assert (run(inputs) - expected).abs().max() < 1e-4 * expected.max()


def test_a_graph_is_built_once_and_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_PLUGIN_CACHE", str(tmp_path))
    settings.cache_clear()

    def fail() -> bytes:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        graph_file("small", fail, settings().cache)
    assert not list(tmp_path.rglob("*.onnx*"))
    assert graph_file("small", lambda: b"a graph", settings().cache).read_bytes() == b"a graph"
    assert graph_file("small", fail, settings().cache).read_bytes() == b"a graph"
    settings.cache_clear()
