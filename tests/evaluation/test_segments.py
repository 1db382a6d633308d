"""The protocol for moments: what counts as found, what chance and a perfect order reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.colors import MeanColor
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import ClipFeatures, ImageVideoEncoder
from var_plugin.evaluation import segments


def film(seconds: float, **events: tuple[int, int]) -> ClipFeatures:
    """Two clips a second that show nothing but, from second to second, an axis of its own."""
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
SPANS = segments.cut(CLIPS, ImageVideoEncoder(MeanColor()))
FIRST, SECOND, NOTHING = np.eye(4, dtype=np.float32)[[0, 1, 2]]


def wanted(*times: tuple[float, float], video: int = 0) -> segments.Wanted:
    return segments.Wanted(np.full(len(times), video), np.array(times))


def value(found: segments.Moments, overlap: float, depth: int) -> float:
    return found.values[f"IoU {overlap:g} R@{depth}"]


def test_spans_lie_in_their_videos_and_a_short_video_is_one() -> None:
    ends = np.array([64, 3, 40])[SPANS.videos]
    assert (SPANS.times[:, 0] >= 0).all()
    assert (SPANS.times[:, 1] <= ends + 1e-6).all()
    assert SPANS.times[SPANS.videos == 1].tolist() == [[0, 3]]
    lengths = np.diff(SPANS.times[SPANS.videos == 0], axis=1)
    assert (lengths.min(), lengths.max()) == pytest.approx((4, 64))


def test_an_event_is_found_by_its_own_query_at_its_own_place() -> None:
    found = segments.found(np.stack([FIRST, SECOND]), wanted((8, 16), (40, 44)), SPANS)
    summary = segments.summary(found, wanted((8, 16), (40, 44)))
    assert value(summary, 0.7, 10) == 100
    assert value(summary, 0, 1) == 100
    elsewhere = segments.found(FIRST[None], wanted((20, 28)), SPANS)
    assert segments.summary(elsewhere, wanted((20, 28))).values["IoU 0.3 R@1"] == 0
    other_video = segments.found(FIRST[None], wanted((8, 16), video=2), SPANS)
    assert not other_video[0, 0].any(), "the same times in another video are no answer"


def test_answers_do_not_repeat_themselves() -> None:
    answers = segments._answers(FIRST @ SPANS.vectors.T, SPANS)
    assert len(answers) == 10
    for place, answer in enumerate(answers):
        for better in answers[:place]:
            if SPANS.videos[answer] == SPANS.videos[better]:
                assert segments._iou(SPANS.times[[better]], SPANS.times[answer])[0] <= 0.5


def test_a_perfect_order_finds_most_and_chance_little() -> None:
    queries = wanted((8, 16), (40, 44), (1, 63), (3.5, 4))
    best = segments.summary(segments.ceiling(queries, SPANS), queries)
    assert value(best, 0.7, 1) == 75, "half a second is shorter than any span"
    chance = segments.chance(queries, SPANS)
    # The same by drawing: the share of random orders whose first spans hold a right one.
    random = np.random.default_rng(0)
    right = segments._overlaps(0, np.array([8.0, 16.0]), SPANS) >= 0.5
    drawn = [right[random.permutation(len(right))[:10]].any() for _ in range(4000)]
    assert chance[0, segments.DEPTHS.index(10), 2] == pytest.approx(np.mean(drawn), abs=0.025)
    assert (np.diff(chance, axis=1) >= 0).all(), "deeper finds more"
    assert (np.diff(chance, axis=2) <= 1e-12).all(), "stricter finds less"


def test_intervals_hold_the_value_and_draw_whole_videos() -> None:
    hits = np.zeros((40, 3, 4), bool)
    hits[:20] = True  # all of one video found, none of the other
    queries = segments.Wanted(np.repeat([0, 1], 20), np.tile([0.0, 1.0], (40, 1)))
    found = segments.summary(hits, queries, resamples=500)
    interval = found.intervals["IoU 0.5 R@1"]
    assert (interval.low, found.values["IoU 0.5 R@1"], interval.high) == (0, 50, 100)


def test_a_single_span_gives_finite_numbers_and_no_interval() -> None:
    clips = {Path("b"): CLIPS[Path("b")]}
    spans = segments.cut(clips, ImageVideoEncoder(MeanColor()))
    assert len(spans.times) == 1
    wanted = segments.numbered([Path("b")], clips, [(0.0, 3.0)])
    chance = segments.summary(segments.chance(wanted, spans), wanted, resamples=50)
    assert set(chance.values.values()) == {100.0}
    assert chance.intervals == {}
