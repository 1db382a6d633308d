from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from var_plugin.config import ModelOptions
from var_plugin.encoders.base import ScoreStatistics, Space, Vectors, l2_normalize
from var_plugin.encoders.caption_memory import (
    ALARM,
    NORMAL,
    CaptionMemory,
    Example,
    read_captions,
    smooth_scores,
)
from var_plugin.encoders.lite.build import build as build_lite
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import InvalidVectorError

FILE = Path(__file__).parents[2] / "var_plugin" / "encoders" / "captions.json"
KINDS = (
    "fighting", "assault", "robbery", "theft", "burglary", "vandalism", "fire", "smoke", "explosion",
    "traffic accident", "person hit by vehicle", "fall", "person lying down", "weapon", "shooting", "riot",
    "trespassing", "abandoned object", "flooding",
)  # fmt: skip
DIM = 64
FILLERS = {"a", "an", "the", "of", "in", "on", "and", "is", "are", "with", "to", "at", "from"}


class WordVectors:
    """The mean of one random direction per word, as a bag of words."""

    def __init__(self) -> None:
        self.calls = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.calls += 1
        return l2_normalize(np.stack([sum(map(self.word, self.words(text))) for text in texts]))

    def words(self, text: str) -> list[str]:
        words = [word.strip(".,'").lower() for word in text.split()]
        return [word for word in words if word not in FILLERS]

    @staticmethod
    @cache
    def word(word: str) -> Vectors:
        return np.random.default_rng(list(word.encode())).normal(size=DIM).astype(np.float32)


class NoText:
    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.full((len(texts), DIM), np.nan, np.float32)


def space_of(*modalities: str, fingerprint: str = "words-1") -> Space:
    return Space("scene", DIM, "IP", frozenset(modalities), fingerprint)  # type: ignore[arg-type]


def encoders(text: WordVectors | None = None, **options: object) -> SpaceEncoders:
    return SpaceEncoders(space_of("text", "image", "video"), text=text or WordVectors(), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def memory() -> CaptionMemory:
    memory = CaptionMemory.load(encoders(), None)
    assert memory is not None
    return memory


def vectors_of(*texts: str) -> Vectors:
    return WordVectors().encode(texts)


def score(memory: CaptionMemory, vectors: Vectors, kind: str) -> float:
    return float(memory.events(vectors).scores[0, memory.kinds.index(kind)])


def test_every_kind_has_twenty_sentences_and_normal_sentences_are_at_least_as_many() -> None:
    content = json.loads(FILE.read_text("utf-8"))
    scenes = {kind: fields["scene"] for kind, fields in content["kinds"].items() if "scene" in fields}
    assert tuple(scenes) == KINDS
    assert min(map(len, scenes.values())) >= 20
    assert sum(map(len, content["normal"].values())) >= sum(map(len, scenes.values()))
    places = {"street", "shop", "corridor", "car park", "home", "office", "platform", "workshop", "night"}
    assert places <= content["normal"].keys()
    sounds = [text for fields in content["kinds"].values() for text in fields.get("sound", ())]
    assert len(content["normal_sounds"]) >= len(sounds)
    assert {"screaming", "siren", "shooting"} <= {
        kind for kind, fields in content["kinds"].items() if "sound" in fields
    }


@pytest.mark.parametrize("field", ["scene", "sound"])
def test_no_two_sentences_are_nearly_the_same(field: str) -> None:
    texts, _ = read_captions(field)  # type: ignore[arg-type]
    words = [frozenset(WordVectors().words(text)) for text in texts]
    pairs = combinations(zip(texts, words, strict=True), 2)
    alike = [(a, b) for (a, left), (b, right) in pairs if len(left & right) > 0.7 * len(left | right)]
    assert alike == []


def test_a_vector_of_an_event_scores_high_for_its_kind_only(memory: CaptionMemory) -> None:
    texts, groups = read_captions("scene")
    events = memory.events(vectors_of(*texts))
    assert events.scores.shape == (len(texts), len(KINDS)) == events.nearest.shape
    assert events.scores.dtype == np.float32
    normal = np.array(groups) == NORMAL
    own = np.array([events.scores[row, KINDS.index(group)] for row, group in enumerate(groups) if group != NORMAL])
    assert np.median(own) > 2 * np.median(events.scores[normal].max(axis=1))


def test_the_nearest_sentence_explains_the_event(memory: CaptionMemory) -> None:
    sentence = "A car burns at the side of the road."
    events = memory.events(vectors_of(sentence))
    assert memory.sentence(int(events.nearest[0, memory.kinds.index("fire")])) == sentence


def test_normal_sentences_rarely_count_as_events(memory: CaptionMemory) -> None:
    texts, groups = read_captions("scene")
    normal = vectors_of(*(text for text, group in zip(texts, groups, strict=True) if group == NORMAL))
    assert (memory.events(normal).scores >= 0.5).mean() < 0.02


def test_a_score_does_not_depend_on_the_other_vectors(memory: CaptionMemory) -> None:
    vectors = np.random.default_rng(0).normal(size=(700, DIM)).astype(np.float32)
    together = memory.events(vectors)
    order = np.random.default_rng(1).permutation(700)
    shuffled = memory.events(vectors[order])
    assert np.array_equal(shuffled.scores, together.scores[order])
    assert np.array_equal(memory.events(vectors[300:301]).scores[0], together.scores[300])


def test_the_scale_and_a_common_offset_of_the_similarities_do_not_matter(memory: CaptionMemory) -> None:
    vectors = np.random.default_rng(0).normal(size=(20, DIM)).astype(np.float32)
    assert np.allclose(memory.events(3 * vectors).scores, memory.events(vectors).scores, atol=1e-3)


def test_a_vector_without_content_has_no_event(memory: CaptionMemory) -> None:
    assert (memory.events(np.zeros((2, DIM), np.float32)).scores < 0.5).all()
    assert memory.events(np.zeros((0, DIM), np.float32)).scores.shape == (0, len(KINDS))


def test_a_normal_sentence_lowers_only_the_scores_of_vectors_near_it(memory: CaptionMemory) -> None:
    fog = "White fog of a stage machine fills the disco."
    event = vectors_of("White smoke fills the disco.", "A car crashes into the back of a lorry.")
    extended = memory.extended([Example(NORMAL, fog)])
    before, after = memory.events(event).scores, extended.events(event).scores
    assert (after[0] < before[0]).all()
    assert np.array_equal(after[1], before[1])
    assert ALARM not in extended.kinds


def test_an_alarm_sentence_adds_a_kind_of_its_own(memory: CaptionMemory) -> None:
    extended = memory.extended([Example(ALARM, "a purple ladder leans against the southern hedge")])
    assert extended.kinds == (*KINDS, ALARM)
    near = vectors_of("a purple ladder leans against the hedge")
    assert score(extended, near, ALARM) > 0.5 > score(extended, vectors_of("A family eats dinner at a table."), ALARM)
    nearest = extended.events(near).nearest[0, -1]
    assert extended.sentence(int(nearest)) == "a purple ladder leans against the southern hedge"
    assert np.array_equal(extended.events(near).scores[:, :-1], memory.events(near).scores)


def test_a_normal_vector_silences_itself_but_not_a_stronger_event_nearby(memory: CaptionMemory) -> None:
    texts, groups = read_captions("scene")
    fires = vectors_of(*(text for text, group in zip(texts, groups, strict=True) if group == "fire"))
    marked = l2_normalize(fires.mean(axis=0, keepdims=True))
    extended = memory.extended([Example(NORMAL, "marked as normal", marked[0])])
    assert score(memory, marked, "fire") > 0.5 > score(extended, marked, "fire")
    stronger = l2_normalize(marked + 0.2 * fires[:5].mean(axis=0))
    assert score(extended, stronger, "fire") > score(extended, marked, "fire")
    elsewhere = vectors_of("Flames burst out of the windows of a block of flats.")
    assert score(extended, elsewhere, "fire") == score(memory, elsewhere, "fire")


def test_an_alarm_vector_is_found_again(memory: CaptionMemory) -> None:
    marked = vectors_of("three green bottles on a wall")
    extended = memory.extended([Example(ALARM, "marked as alarm", marked[0])])
    assert score(extended, marked, ALARM) > 0.9
    assert score(extended, vectors_of("A family eats dinner at a table."), ALARM) < 0.1
    assert extended.sentence(int(extended.events(marked).nearest[0, -1])) == "marked as alarm"


def test_in_a_space_of_similar_footage_fewer_vectors_are_near_an_example(memory: CaptionMemory) -> None:
    dense = CaptionMemory.load(encoders(score_statistics={"video": ScoreStatistics(0.6, 0.1)}), None)
    assert dense is not None
    marked, other = np.eye(DIM, dtype=np.float32)[:2]
    similar = l2_normalize(marked + 0.5 * other)[None]  # cosine 0.89
    example = Example(ALARM, "marked as alarm", marked)
    assert score(dense.extended([example]), similar, ALARM) < score(memory.extended([example]), similar, ALARM)


def test_examples_replace_earlier_ones(memory: CaptionMemory) -> None:
    extended = memory.extended([Example(ALARM, "a ladder")]).extended([])
    assert extended.kinds == memory.kinds


def test_kinds_that_are_too_weak_in_a_space_are_scored_but_do_not_count() -> None:
    memory = CaptionMemory.load(encoders(uncounted_kinds=frozenset({"theft"})), None)
    assert memory is not None
    assert "theft" in memory.kinds
    assert memory.counted == frozenset(KINDS) - {"theft"}


def test_a_space_of_audio_uses_sentences_about_sounds() -> None:
    memory = CaptionMemory.load(SpaceEncoders(space_of("text", "audio"), text=WordVectors()), None)
    assert memory is not None
    assert {"screaming", "siren", "shooting"} <= set(memory.kinds)
    assert "theft" not in memory.kinds


def test_a_space_without_text_encoder_has_no_memory() -> None:
    assert CaptionMemory.load(SpaceEncoders(space_of("audio", "video")), None) is None


def test_sentences_are_embedded_once_and_read_from_a_private_cache(tmp_path: Path) -> None:
    text = WordVectors()
    first = CaptionMemory.load(encoders(text), tmp_path)
    (file,) = (tmp_path / "captions").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = CaptionMemory.load(encoders(text), tmp_path)
    assert text.calls == 1
    assert first is not None
    assert second is not None
    vectors = vectors_of("A car burns at the side of the road.")
    assert np.array_equal(first.events(vectors).scores, second.events(vectors).scores)


@pytest.mark.parametrize("damage", [b"", b"\x80\x04garbage", b"short"])
def test_a_damaged_cache_is_written_again(tmp_path: Path, damage: bytes) -> None:
    text = WordVectors()
    CaptionMemory.load(encoders(text), tmp_path)
    (file,) = (tmp_path / "captions").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage == b"short" else damage)
    CaptionMemory.load(encoders(text), tmp_path)
    assert text.calls == 2
    assert file.read_bytes() == content


def test_another_encoder_does_not_read_the_cache_of_the_first(tmp_path: Path) -> None:
    CaptionMemory.load(encoders(), tmp_path)
    other = SpaceEncoders(space_of("text", "video", fingerprint="words-2"), text=WordVectors())
    CaptionMemory.load(other, tmp_path)
    assert len(list((tmp_path / "captions").iterdir())) == 2


def test_invalid_vectors_of_sentences_are_an_error() -> None:
    with pytest.raises(InvalidVectorError, match="'scene' returned invalid vectors"):
        CaptionMemory.load(SpaceEncoders(space_of("text", "video"), text=NoText()), None)


def test_scores_are_smoothed_over_seconds_not_over_clips() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.0, 60.0, 61.0])
    peak = np.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0], np.float32)
    smooth = smooth_scores(times, peak, 1.0)
    assert smooth.argmax() == 2
    assert 0.3 < smooth[2] < 0.6
    assert smooth[1] > smooth[0] > 0
    assert (smooth[4:] == 0).all()
    assert np.allclose(smooth_scores(times, np.ones((6, 2), np.float32), 5.0), 1)
    assert np.array_equal(smooth_scores(times[:1], peak[2:3], 1.0), peak[2:3])
    assert smooth_scores(np.zeros(0), np.zeros((0, 3), np.float32), 1.0).shape == (0, 3)


@pytest.mark.parametrize("space", ["scene", "sound"])
def test_lite_names_the_kinds_that_do_not_count(space: Literal["scene", "sound"]) -> None:
    lite = build_lite(ModelOptions())[space]
    kinds = set(read_captions(space)[1]) - {NORMAL}
    assert lite.uncounted_kinds < kinds
    assert "fighting" in lite.uncounted_kinds, "it comes from the trained detector"
