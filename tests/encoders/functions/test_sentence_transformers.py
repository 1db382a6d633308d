from __future__ import annotations

import json
import wave
from collections.abc import Sequence
from pathlib import Path

import chromadb
import numpy as np
import pymilvus.model
import pytest
import torch
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router

from tests.colors import DESCRIPTION, ColorNames, build, color_suite
from tests.films import plain
from tests.tones import sine, tone_suite
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.functions.sentence_transformers import SuiteModule, suite_router
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import FingerprintMismatchError, InvalidInputError


@pytest.fixture(params=[SuiteModule, suite_router])
def model(request: pytest.FixtureRequest) -> SentenceTransformer:
    return SentenceTransformer(modules=[request.param(color_suite())], device="cpu")


@pytest.fixture
def folder(installed_colors: str, tmp_path: Path) -> str:
    """A saved model with a route for each modality."""
    router = suite_router(installed_colors)
    SentenceTransformer(modules=[router], similarity_fn_name="dot", device="cpu").save(str(tmp_path / "model"))
    return str(tmp_path / "model")


def test_supported_modalities_are_listed(model: SentenceTransformer) -> None:
    assert model.modalities == ["image", "text", "video"]
    assert model.supports("video")
    assert not model.supports("audio")
    assert model.get_embedding_dimension() == 3


def test_images_may_be_paths_pil_images_or_arrays(model: SentenceTransformer) -> None:
    green = plain(0, 255, 0)
    channels_first = torch.from_numpy(green.transpose(2, 0, 1))
    vectors = model.encode([Image.fromarray(green), green, channels_first, {"image": green}, plain(0, 0, 255)])
    assert vectors.dtype == np.float32
    assert vectors.argmax(axis=1).tolist() == [1, 1, 1, 1, 2]


def test_videos_are_paths(model: SentenceTransformer, clips: list[str]) -> None:
    similarity = model.similarity(model.encode_query(["red", "green", "blue"]), model.encode_document(clips))
    assert similarity.argmax(dim=1).tolist() == [0, 1, 2]


def test_audio_may_be_a_path_or_samples_with_a_rate(tmp_path: Path) -> None:
    model = SentenceTransformer(modules=[suite_router(tone_suite(), "sound")], device="cpu")
    assert model.modalities == ["audio", "text"]
    high = sine(3_000, 1)
    with wave.open(str(tmp_path / "high.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((high * 32_767).astype("<i2").tobytes())
    words = model.encode(["low", "high"])
    for sound in ({"audio": {"array": high, "sampling_rate": 16_000}}, str(tmp_path / "high.wav")):
        assert model.similarity(model.encode([sound]), words).argmax() == 1
    with pytest.raises(InvalidInputError):
        model.encode([high])


def test_prompts_are_prepended_to_texts_only(model: SentenceTransformer) -> None:
    assert model.encode("green", prompt="red ") == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert model.encode([plain(0, 0, 255)], prompt="red ").argmax() == 2


def test_a_saved_model_is_loaded(folder: str, clips: list[str]) -> None:
    loaded = SentenceTransformer(folder, trust_remote_code=True, device="cpu")
    assert isinstance(loaded[0], Router)
    assert set(loaded[0].sub_modules) == {"image", "text", "video"}
    assert loaded.similarity_fn_name == "dot"
    scores = loaded.similarity(loaded.encode_query("blue"), loaded.encode_document(clips))
    assert scores.argmax() == 2
    assert loaded.encode([plain(0, 255, 0)]).argmax() == 1


class Backwards(ColorNames):
    """Encodes red as blue."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.ascontiguousarray(super().encode(texts)[:, ::-1])


def test_a_module_of_the_router_can_be_replaced() -> None:
    """Texts are encoded by another suite, images by the first one."""
    router = suite_router(color_suite())
    scene = build()["scene"]
    backwards = SpaceEncoders(scene.space, text=Backwards(), image=scene.image)
    router.sub_modules["text"] = torch.nn.Sequential(SuiteModule(Suite(DESCRIPTION, {"scene": backwards})))
    model = SentenceTransformer(modules=[router], device="cpu")
    assert model.encode("red").tolist() == [0, 0, 1]
    assert model.encode([plain(255, 0, 0)]).argmax() == 0


def test_chroma_loads_the_model_by_name(folder: str, tmp_path: Path) -> None:
    function = SentenceTransformerEmbeddingFunction(model_name=folder, trust_remote_code=True)
    collection = chromadb.PersistentClient(str(tmp_path / "chroma")).create_collection(
        "notes", embedding_function=function
    )
    collection.add(ids=["1", "2"], documents=["a red van", "a blue van"])
    assert collection.query(query_texts=["blue"], n_results=1)["ids"] == [["2"]]


def test_pymilvus_loads_the_model_by_name(folder: str) -> None:
    function = pymilvus.model.dense.SentenceTransformerEmbeddingFunction(folder, trust_remote_code=True)
    assert function.dim == 3
    assert [vector.tolist() for vector in function.encode_documents(["red", "blue"])] == [[1, 0, 0], [0, 0, 1]]
    assert function.encode_queries(["green"])[0].tolist() == [0, 1, 0]


def test_a_model_saved_by_another_version_of_the_suite_is_refused(folder: str) -> None:
    (config,) = Path(folder).glob("*_SuiteModule/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fingerprint": "colors-0"}))
    with pytest.raises(FingerprintMismatchError):
        SentenceTransformer(folder, trust_remote_code=True, device="cpu")


def test_unsupported_inputs_are_refused(model: SentenceTransformer) -> None:
    with pytest.raises(ValueError, match="Modality 'audio' is not supported"):
        model.encode([np.zeros(16_000, np.float32)])
    with pytest.raises(InvalidInputError, match="download nothing"):
        model.encode(["https://example.org/image.jpg"])
