from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from tests.colors import AnyWords, color_suite, suite_with
from tests.films import Film, plain
from tests.tones import sine, tone_suite
from var_plugin.encoders.functions.langchain import SuiteEmbeddings
from var_plugin.errors import UnsupportedModalityError


class TestUnit(EmbeddingsUnitTests):
    """LangChain's own unit tests of embeddings."""

    @property
    def embeddings_class(self) -> type[SuiteEmbeddings]:
        return SuiteEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"suite": suite_with(AnyWords())}


class TestIntegration(EmbeddingsIntegrationTests):
    """LangChain's own integration tests of embeddings."""

    @property
    def embeddings_class(self) -> type[SuiteEmbeddings]:
        return SuiteEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"suite": suite_with(AnyWords())}


def test_texts_images_and_videos_share_a_space(clips: list[str]) -> None:
    embeddings = SuiteEmbeddings(color_suite())
    assert embeddings.dim == 3
    texts = np.array(embeddings.embed_documents(["red", "green", "blue"]))
    images = np.array(embeddings.embed_image([plain(255, 0, 0), plain(0, 255, 0), plain(0, 0, 255)]))
    videos = np.array(embeddings.embed_video(clips))
    assert (texts @ images.T).argmax(axis=1).tolist() == [0, 1, 2]
    assert (texts @ videos.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_texts_and_audio_share_a_space(film: Film) -> None:
    embeddings = SuiteEmbeddings(tone_suite(), space="sound")
    tones = [film(f"{tone:.0f}.mp4", tone=tone, images=False) for tone in (300.0, 3_000.0)]
    sounds = np.array(embeddings.embed_audio([*tones, (sine(5_000, 1), 16_000)]))
    texts = np.array(embeddings.embed_documents(["low", "high"]))
    assert (sounds @ texts.T).argmax(axis=1).tolist() == [0, 1, 1]


def test_an_unsupported_modality_is_refused() -> None:
    with pytest.raises(UnsupportedModalityError, match="cannot encode audio in space 'scene'"):
        SuiteEmbeddings(color_suite()).embed_audio(["siren.wav"])
    with pytest.raises(UnsupportedModalityError, match="space 'sound'"):
        SuiteEmbeddings(color_suite(), space="sound")
