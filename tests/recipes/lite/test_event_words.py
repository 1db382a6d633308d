"""Training the heads for sentences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.lite import event_words
from recipes.lite.event_words import WORDS, Sentence, fit_words, is_about, read_texts
from recipes.lite.events import HEADS
from var_plugin.errors import MediaNotFoundError


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("fire", "A man sets the car on fire", True),
        ("fire", "A fire truck stops", False),
        ("fire", "The officer fires a shot", False),
        ("smoke", "Thick smoke rises", True),
        ("smoke", "He smokes a cigarette", False),
        ("traffic accident", "Two vehicles collided", True),
        ("traffic accident", "A wave crashes on the beach", False),
        ("weapon", "Two gunmen enter", True),
        ("weapon", "A boy with a water gun", False),
    ],
)
def test_words_label_a_collected_sentence(kind: str, text: str, expected: bool) -> None:
    assert is_about(kind, Sentence(text, "flickr8k")) is expected


def test_a_sentence_that_may_describe_the_kind_in_other_words_is_not_used() -> None:
    bumped = "The car bumped into the wall"
    assert is_about("traffic accident", Sentence(bumped, "uca")) is None
    assert is_about("traffic accident", Sentence(bumped, "flickr8k")) is False


def test_a_written_sentence_has_the_label_that_it_was_written_for() -> None:
    assert is_about("fire", Sentence("tongues of flame", "written", "fire")) is True
    assert is_about("fire", Sentence("a fire truck", "written", "normal")) is False


def test_kinds_of_sentences_are_kinds_of_the_heads() -> None:
    assert set(WORDS) < set(HEADS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with a few sentences of both collections."""
    (tmp_path / "uca").mkdir()
    sentences = [" The shop burns.", "A man walks.", "The car bumped into the wall."]
    (tmp_path / "uca" / "UCFCrime_Train.json").write_text(json.dumps({"Arson001": {"sentences": sentences}}))
    (tmp_path / "flickr8k").mkdir()
    rows = ["image,caption", *(f"{image}.jpg,A dog runs." for image in range(2_001) for _ in range(5))]
    (tmp_path / "flickr8k" / "captions.csv").write_text("\n".join(rows))
    return tmp_path


def test_collected_and_written_sentences_are_read(data: Path) -> None:
    sentences = read_texts(data)
    assert {each.collection for each in sentences} == {"uca", "flickr8k", "written"}
    assert Sentence("The shop burns.", "uca") in sentences
    assert Sentence("a photo of a burning building", "written", "fire") in sentences


def test_a_missing_collection_is_named(data: Path) -> None:
    (data / "uca" / "UCFCrime_Train.json").unlink()
    with pytest.raises(MediaNotFoundError, match="UCFCrime_Train"):
        read_texts(data)


def test_the_heads_separate_the_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On vectors in which each kind has a direction of its own."""
    kinds = [*WORDS, "normal"]
    sentences = [Sentence(f"{kind} {number}", "written", kind) for kind in kinds for number in range(20)]
    noise = np.random.default_rng(0).normal(size=(len(sentences), 8))
    vectors = np.eye(8)[[kinds.index(each.kind) for each in sentences]] + 0.1 * noise
    monkeypatch.setattr(event_words, "sentence_vectors", lambda _: vectors)
    weights, biases = fit_words(sentences)
    logits = vectors @ weights.T + biases
    assert weights.shape == (len(WORDS), 8)
    for row, each in zip(logits, sentences, strict=True):
        assert [bool(value > 0) for value in row] == [each.kind == kind for kind in WORDS]
