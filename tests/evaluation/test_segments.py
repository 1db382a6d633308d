"""The protocol of moment retrieval: hits, chance, and the ceiling of a perfect order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.colors import MeanColor
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import ClipFeatures, ImageVideoEncoder
from var_plugin.evaluation import segments


def film(seconds: float, **events: tuple[int, int]) -> ClipFeatures:
    """Return two clips per second. Each event has a vector of its own, all other clips share one."""
    vectors = np.zeros((int(2 * seconds), 4))
    vectors[:, 3] = 1
    for axis, (start, end) in zip(range(3), events.values(), strict=False):
        vectors[2 * start : 2 * end] = np.eye(4)[axis]
    return ClipFeatures(
        times=np.arange(len(vectors)) / 2 + 0.25,
        vectors=l2_normalize(vectors),
        usable=np.ones(len(vectors), bool),
        end=seconds,
    )


CLIPS = {Path("a"): film(64, first=(8, 16), second=(40, 44)), Path("b"): film(3), Path("c"): film(40)}
SPANS = segments.make_spans(CLIPS, ImageVideoEncoder(MeanColor()))
FIRST, SECOND, NOTHING = np.eye(4, dtype=np.float32)[[0, 1, 2]]


def targets(*times: tuple[float, float], video: int = 0) -> segments.Targets:
    return segments.Targets(np.full(len(times), video), np.array(times))


def value(recall: segments.MomentRecall, overlap: float, depth: int) -> float:
    return recall.values[f"IoU {overlap:g} R@{depth}"]


def test_spans_lie_within_their_videos_and_a_short_video_is_one_span() -> None:
    ends = np.array([64, 3, 40])[SPANS.videos]
    assert (SPANS.times[:, 0] >= 0).all()
    assert (SPANS.times[:, 1] <= ends + 1e-6).all()
    assert SPANS.times[SPANS.videos == 1].tolist() == [[0, 3]]
    lengths = np.diff(SPANS.times[SPANS.videos == 0], axis=1)
    assert (lengths.min(), lengths.max()) == pytest.approx((4, 64))


def test_event_is_found_by_its_query_at_its_time() -> None:
    hits = segments.retrieve(np.stack([FIRST, SECOND]), targets((8, 16), (40, 44)), SPANS)
    summary = segments.summarize(hits, targets((8, 16), (40, 44)))
    assert value(summary, 0.7, 10) == 100
    assert value(summary, 0, 1) == 100
    elsewhere = segments.retrieve(FIRST[None], targets((20, 28)), SPANS)
    assert segments.summarize(elsewhere, targets((20, 28))).values["IoU 0.3 R@1"] == 0
    other_video = segments.retrieve(FIRST[None], targets((8, 16), video=2), SPANS)
    assert not other_video[0, 0].any(), "the same times in another video are not a hit"


def test_answers_do_not_overlap() -> None:
    answers = segments._answers(FIRST @ SPANS.vectors.T, SPANS)
    assert len(answers) == 10
    for position, answer in enumerate(answers):
        for better in answers[:position]:
            if SPANS.videos[answer] == SPANS.videos[better]:
                assert segments._iou(SPANS.times[[better]], SPANS.times[answer])[0] <= 0.5


def test_ceiling_and_chance_match_their_definitions() -> None:
    queries = targets((8, 16), (40, 44), (1, 63), (3.5, 4))
    best = segments.summarize(segments.ceiling(queries, SPANS), queries)
    assert value(best, 0.7, 1) == 75, "half a second is shorter than any span"
    chance = segments.chance(queries, SPANS)
    # Monte Carlo estimate of the same probability.
    random = np.random.default_rng(0)
    relevant = segments._overlaps(0, np.array([8.0, 16.0]), SPANS) >= 0.5
    samples = [relevant[random.permutation(len(relevant))[:10]].any() for _ in range(4000)]
    assert chance[0, segments.DEPTHS.index(10), 2] == pytest.approx(np.mean(samples), abs=0.025)
    assert (np.diff(chance, axis=1) >= 0).all(), "recall grows with the depth"
    assert (np.diff(chance, axis=2) <= 1e-12).all(), "recall falls with the overlap"


def test_intervals_contain_the_value_and_resample_whole_videos() -> None:
    hits = np.zeros((40, 3, 4), bool)
    hits[:20] = True  # all queries of one video are found, none of the other
    queries = segments.Targets(np.repeat([0, 1], 20), np.tile([0.0, 1.0], (40, 1)))
    summary = segments.summarize(hits, queries, resamples=500)
    interval = summary.intervals["IoU 0.5 R@1"]
    assert (interval.low, summary.values["IoU 0.5 R@1"], interval.high) == (0, 50, 100)


def test_single_span_gives_finite_values_without_intervals() -> None:
    clips = {Path("b"): CLIPS[Path("b")]}
    spans = segments.make_spans(clips, ImageVideoEncoder(MeanColor()))
    assert len(spans.times) == 1
    only = segments.make_targets([Path("b")], clips, [(0.0, 3.0)])
    chance = segments.summarize(segments.chance(only, spans), only, resamples=50)
    assert set(chance.values.values()) == {100.0}
    assert chance.intervals == {}
