from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from tests.colors import DESCRIPTION, NAMES, ColorNames, build, color_suite
from tests.films import plain
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.functions.langchain import SuiteEmbeddings
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import UnsupportedModalityError


class AnyWords(ColorNames):
    """White for what names no colour: the standard tests ask for `foo`."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode([text if set(text.split()) & NAMES.keys() else "white" for text in texts])


def any_word_suite() -> Suite:
    scene = build()["scene"]
    return Suite(DESCRIPTION, {"scene": SpaceEncoders(scene.space, text=AnyWords(), picture=scene.picture)})


class TestUnit(EmbeddingsUnitTests):
    """LangChain's own unit tests of embeddings."""

    @property
    def embeddings_class(self) -> type[SuiteEmbeddings]:
        return SuiteEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"suite": any_word_suite()}


class TestIntegration(EmbeddingsIntegrationTests):
    """LangChain's own integration tests of embeddings."""

    @property
    def embeddings_class(self) -> type[SuiteEmbeddings]:
        return SuiteEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"suite": any_word_suite()}


def test_words_pictures_and_videos_meet_in_one_space(clips: list[str]) -> None:
    embeddings = SuiteEmbeddings(color_suite())
    assert embeddings.dim == 3
    texts = np.array(embeddings.embed_documents(["red", "green", "blue"]))
    pictures = np.array(embeddings.embed_image([plain(255, 0, 0), plain(0, 255, 0), plain(0, 0, 255)]))
    videos = np.array(embeddings.embed_video(clips))
    assert (texts @ pictures.T).argmax(axis=1).tolist() == [0, 1, 2]
    assert (texts @ videos.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_what_the_space_does_not_take_is_refused() -> None:
    with pytest.raises(UnsupportedModalityError, match="cannot encode audio in space 'scene'"):
        SuiteEmbeddings(color_suite()).embed_audio(["siren.wav"])
    with pytest.raises(UnsupportedModalityError, match="space 'sound'"):
        SuiteEmbeddings(color_suite(), space="sound")
