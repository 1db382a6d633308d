from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tolerances import FLOAT32
from var_plugin.encoders.lite.audio import LiteAudioEncoder, LiteAudioTextEncoder
from var_plugin.encoders.lite.networks import append_null_dim
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import MissingWeightsError, UnsupportedModalityError


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("lite")


def test_audio_and_texts_share_a_space(suite: Suite) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 22_050).astype(np.float32)
    sounds = suite.encode("audio", [(noise, 22_050), (noise[:100], 22_050)], space="sound")
    texts = suite.encode("text", ["a siren", "rain"], space="sound")
    dim = suite.spaces["sound"].dim
    assert sounds.shape == texts.shape == (2, dim)
    assert np.allclose(np.linalg.norm(sounds, axis=1), 1, atol=1e-3)
    assert np.allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-3)
    with pytest.raises(UnsupportedModalityError):
        suite.encode("image", [np.zeros((4, 4, 3), np.uint8)], space="sound")


def test_texts_about_looks_are_not_audible(suite: Suite) -> None:
    audible_texts = ["a siren", "glass breaking", "a dog is barking", "someone screams"]
    visible_texts = ["a woman in a red coat", "two boys in blue shirts stand on a lawn", "the man wears a striped tie"]
    audible, silent = (
        1 - suite.encode("text", texts, space="sound")[:, -1] ** 2 for texts in (audible_texts, visible_texts)
    )
    assert audible.min() > 0.5
    assert silent.max() < 0.3


def test_the_last_coordinate_restores_the_unit_norm() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    joined = append_null_dim(vectors, torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0]))
    assert torch.allclose(joined.norm(dim=1), torch.ones(5), atol=FLOAT32)
    assert torch.allclose(joined[3, :-1], 0.9 * vectors[3])


def test_both_spaces_share_one_sentence_encoder(suite: Suite) -> None:
    suite.encode("text", ["rain"] * 5, space="sound")
    scene, sound = suite.encoders["scene"].text.full, suite.encoders["sound"].text.full  # type: ignore[union-attr]
    assert scene._texts._read.__self__.backbone is sound._backbone  # type: ignore[union-attr]


def test_missing_weights_are_an_error_that_names_them(tmp_path: Path) -> None:
    for encode in (LiteAudioEncoder(tmp_path).encode, LiteAudioTextEncoder(tmp_path).encode):
        with pytest.raises(MissingWeightsError, match=r"sound\.json"):
            encode(["rain"])  # type: ignore[arg-type]
