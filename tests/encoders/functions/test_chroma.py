from __future__ import annotations

from pathlib import Path

import chromadb
import pytest
from chromadb.api.types import validate_embedding_function, validate_embeddings
from chromadb.utils.embedding_functions import config_to_embedding_function

from tests.colors import build, color_suite
from tests.films import plain
from var_plugin.encoders.functions.chroma import ChromaEmbeddingFunction
from var_plugin.encoders.suite import Suite
from var_plugin.errors import FingerprintMismatchError, InvalidInputError


def test_chroma_accepts_the_function_and_its_vectors() -> None:
    function = ChromaEmbeddingFunction(color_suite())
    validate_embedding_function(function)
    validate_embeddings(function(["red", "green"]))


def test_texts_and_images_can_be_mixed() -> None:
    function = ChromaEmbeddingFunction(color_suite())
    word, image, other = function(["red", plain(0, 255, 0), "blue"])
    assert word.tolist() == [1, 0, 0]
    assert image.argmax() == 1
    assert other.tolist() == [0, 0, 1]


def test_the_configuration_restores_the_function(installed_colors: str) -> None:
    function = ChromaEmbeddingFunction(installed_colors)
    assert not function.is_legacy()
    restored = config_to_embedding_function({"name": function.name(), "config": function.get_config()})
    assert restored.get_config() == function.get_config()
    assert restored(["red"])[0].tolist() == [1, 0, 0]


def test_a_reopened_collection_has_its_function_and_metric(installed_colors: str, tmp_path: Path) -> None:
    collection = chromadb.PersistentClient(str(tmp_path / "chroma")).create_collection(
        "notes", embedding_function=ChromaEmbeddingFunction(installed_colors)
    )
    collection.add(ids=["1", "2"], documents=["a red van", "a blue van"])
    opened = chromadb.PersistentClient(str(tmp_path / "chroma")).get_collection("notes")
    assert opened.configuration["hnsw"]["space"] == "ip"
    assert opened.query(query_texts=["blue"], n_results=1)["ids"] == [["2"]]


def test_a_collection_of_another_version_of_the_suite_is_refused(installed_colors: str) -> None:
    config = ChromaEmbeddingFunction(installed_colors).get_config() | {"fingerprint": "colors-0"}
    with pytest.raises(FingerprintMismatchError, match="colors-0"):
        ChromaEmbeddingFunction.build_from_config(config)


def test_configurations_are_checked() -> None:
    function = ChromaEmbeddingFunction(color_suite())
    with pytest.raises(InvalidInputError, match="it has the keys fingerprint, space, suite"):
        function.validate_config({"suite": "colors"})
    function.validate_config(function.get_config())
    function.validate_config_update(function.get_config(), function.get_config())
    with pytest.raises(InvalidInputError, match="embedding function of a collection cannot be changed"):
        function.validate_config_update(
            function.get_config(), ChromaEmbeddingFunction(color_suite("colors-2")).get_config()
        )


def test_only_metrics_with_the_ranking_of_the_space_are_offered() -> None:
    from dataclasses import replace

    assert ChromaEmbeddingFunction(color_suite()).supported_spaces() == ["ip", "cosine", "l2"]
    scene = build()["scene"]
    of_any_length = replace(scene, space=replace(scene.space, norm=None))
    suite = Suite(color_suite().description, {"scene": of_any_length})
    assert ChromaEmbeddingFunction(suite).supported_spaces() == ["ip"]
