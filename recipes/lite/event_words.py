"""Heads for sentences: what a text is about, of the kinds that the event heads know.

Logistic regressions on MiniLM's sentence vectors, so that words that no training sentence contains count by their
meaning. The sentences are labelled by words, see `WORDS`: those of UCF-Crime Annotation and the captions of Flickr8k.
Others are written: the sentences of the caption memory, and the phrases in `event_phrases.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recipes.lite.alan_motion import read_uca
from recipes.lite.flickr8k import read_flickr8k
from var_plugin.encoders.backbones.minilm import sentence_vectors
from var_plugin.encoders.caption_memory import NORMAL, read_captions

STRENGTH = 10.0
"""Inverse strength of the regularisation."""
_MAX_OTHERS = 4_000
"""Sentences of each collection that are about none of the kinds."""
_PHRASES = Path(__file__).with_name("event_phrases.json")


@dataclass(frozen=True)
class Words:
    """Regular expressions. A sentence is about a kind if `about` matches, and `otherwise` does not."""

    about: str
    otherwise: str
    uncertain: str
    """Other sentences of UCF-Crime Annotation that match may describe the kind in other words; they are not used."""


WORDS = {
    "fire": Words(
        r"\b(fires?|flames?|flaming|burn(s|ing|ed|t)?|blaz(e|es|ing)|ablaze|fireball|arson|bonfires?|campfires?)\b",
        r"fire ?(truck|engine|fighter|man|men|station|extinguisher|hydrant|alarm|works?|place|escape|department|brigade"
        r"|cracker|door|exit)|opens? fire|fired|gun ?fire|fires? (a|the|his|her|at|shots?)\b|sunburn",
        r"smok|explo",
    ),
    "smoke": Words(r"\bsmok(e|es|y|ing)\b", r"cigar|pipe|smok(ing|es|er|ed)\b|smokestack", r"burn|explo"),
    "traffic accident": Words(
        r"\b(collid\w+|collisions?|crash(es|ed|ing)?|accidents?|rear-end\w*|overturn\w*|wreck\w*)\b",
        r"wave|surf|ocean|sea\b|water|accidentally",
        r"hit|bump|knock",
    ),
    "weapon": Words(
        r"\b(guns?|pistols?|rifles?|shotguns?|handguns?|firearms?|armed|revolvers?|gunm[ae]n|weapons?|gunpoint)\b",
        r"water gun|squirt|toy|paintball|nerf|nail gun|spray|hair|unarmed|sword|kni(fe|ves)",
        r"shoot|shot|robb",
    ),
}
_SIMILAR_KINDS = ("explosion", "shooting", "robbery", "person hit by vehicle", "riot")
"""Kinds of the caption memory whose sentences may also describe one of `WORDS`; they are not used."""


class Sentence(NamedTuple):
    """A training sentence."""

    text: str
    collection: Literal["uca", "flickr8k", "written"]
    kind: str = ""
    """What a written sentence is about: one of `WORDS`, or something else."""


def read_texts(data: Path) -> list[Sentence]:
    """Return the training sentences: all collected ones with one of the words, some others, and the written ones.

    Args:
        data: folder with `flickr8k` and `uca`.

    Raises:
        MediaNotFoundError: one of them is missing.
    """
    photographs = read_flickr8k(data / "flickr8k")["train"]
    captions = [Sentence(text, "flickr8k") for captions in photographs.captions for text in captions]
    uca = [Sentence(text, "uca") for text in sorted({text.strip() for _, text in read_uca(data / "uca")})]
    random = np.random.default_rng(0)
    sentences: list[Sentence] = []
    for collection in (uca, captions):
        relevant = [any(re.search(words.about, each.text, re.I) for words in WORDS.values()) for each in collection]
        others = [each for each, is_relevant in zip(collection, relevant, strict=True) if not is_relevant]
        sentences += [each for each, is_relevant in zip(collection, relevant, strict=True) if is_relevant]
        sentences += [others[number] for number in random.permutation(len(others))[:_MAX_OTHERS]]
    return sentences + _written()


def is_about(kind: str, sentence: Sentence) -> bool | None:
    """Return whether a sentence is about a kind. None: that is not certain."""
    if sentence.collection == "written":
        return sentence.kind == kind
    words = WORDS[kind]
    if re.search(words.about, sentence.text, re.I) and not re.search(words.otherwise, sentence.text, re.I):
        return True
    is_uncertain = sentence.collection == "uca" and re.search(words.uncertain, sentence.text, re.I)
    return None if is_uncertain else False


def fit_words(sentences: Sequence[Sentence]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights (kinds, 384) and biases (kinds,) of the heads, in the order of `WORDS`.

    Collected and written sentences weigh the same, and so do sentences about the kind and others.
    """
    from sklearn.linear_model import LogisticRegression

    vectors = sentence_vectors([sentence.text for sentence in sentences])
    is_written = np.array([sentence.collection == "written" for sentence in sentences])
    weights, biases = [], []
    for kind in WORDS:
        labels = [is_about(kind, sentence) for sentence in sentences]
        sample = np.zeros(len(sentences))
        for label in (True, False):
            has_label = np.array([each is label for each in labels])
            for group in (has_label & is_written, has_label & ~is_written):
                sample[group] = 1 / max(1, group.sum())
        used = sample > 0
        target = np.array([label is True for label in labels])
        model = LogisticRegression(C=STRENGTH, max_iter=2_000)
        model.fit(vectors[used], target[used], sample_weight=sample[used] / sample[used].mean())
        weights.append(model.coef_[0])
        biases.append(model.intercept_[0])
    return np.array(weights), np.array(biases)


def _written() -> list[Sentence]:
    phrases = json.loads(_PHRASES.read_text())
    groups = {**phrases["kinds"], NORMAL: phrases["others"]}
    pairs = [
        (template.format(text), kind)
        for kind, texts in groups.items()
        for text in texts
        for template in phrases["templates"]
    ]
    pairs += [pair for pair in zip(*read_captions("scene"), strict=True) if pair[1] not in _SIMILAR_KINDS]
    return [Sentence(text, "written", kind) for text, kind in pairs]
