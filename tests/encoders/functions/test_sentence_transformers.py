from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

from tests.colors import color_suite
from tests.films import plain
from var_plugin.encoders.functions.sentence_transformers import SuiteModule
from var_plugin.errors import FingerprintMismatchError, InvalidInputError


@pytest.fixture
def model() -> SentenceTransformer:
    return SentenceTransformer(modules=[SuiteModule(color_suite())], device="cpu")


def test_it_tells_what_it_takes(model: SentenceTransformer) -> None:
    assert model.modalities == ["image", "text", "video"]
    assert model.supports("video")
    assert not model.supports("audio")
    assert model.get_embedding_dimension() == 3


def test_all_kinds_of_pictures_are_understood(model: SentenceTransformer) -> None:
    green = plain(0, 255, 0)
    channels_first = torch.from_numpy(green.transpose(2, 0, 1))
    vectors = model.encode([Image.fromarray(green), green, channels_first, {"image": green}, plain(0, 0, 255)])
    assert vectors.dtype == np.float32
    assert vectors.argmax(axis=1).tolist() == [1, 1, 1, 1, 2]


def test_videos_are_paths(model: SentenceTransformer, clips: list[str]) -> None:
    similarity = model.similarity(model.encode_query(["red", "green", "blue"]), model.encode_document(clips))
    assert similarity.argmax(dim=1).tolist() == [0, 1, 2]


def test_prompts_go_before_texts_only(model: SentenceTransformer) -> None:
    assert model.encode("green", prompt="red ") == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert model.encode([plain(0, 0, 255)], prompt="red ").argmax() == 2


def test_a_saved_model_loads_again(installed_colors: str, tmp_path: Path) -> None:
    SentenceTransformer(modules=[SuiteModule(installed_colors)], device="cpu").save(str(tmp_path / "model"))
    loaded = SentenceTransformer(str(tmp_path / "model"), trust_remote_code=True, device="cpu")
    assert loaded.encode("blue").tolist() == [0, 0, 1]


def test_a_model_saved_by_another_version_of_the_suite_is_refused(installed_colors: str, tmp_path: Path) -> None:
    SentenceTransformer(modules=[SuiteModule(installed_colors)], device="cpu").save(str(tmp_path / "model"))
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fingerprint": "colors-0"}))
    with pytest.raises(FingerprintMismatchError):
        SentenceTransformer(str(tmp_path / "model"), trust_remote_code=True, device="cpu")


def test_what_cannot_be_encoded_is_refused(model: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match="Modality 'audio' is not supported"):
        model.encode([np.zeros(16_000, np.float32)])
    with pytest.raises(InvalidInputError, match="nothing is fetched"):
        model.encode(["https://example.org/picture.jpg"])
