from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.films import plain, textured
from var_plugin.media.segmentation import (
    anomaly_spans,
    choose_keyframe,
    group_static_spans,
    has_content,
    uniform_segments,
)

durations = st.floats(0.05, 50_000)
lengths = st.floats(0.5, 120)


@given(durations, lengths)
def test_segments_cover_the_video_without_gaps(duration: float, length: float) -> None:
    spans = uniform_segments(duration, length)
    assert spans[0][0] == 0.0
    assert spans[-1][1] == duration
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert all(start < end for start, end in spans)


@given(durations, lengths)
def test_segments_have_the_given_length_except_the_tail(duration: float, length: float) -> None:
    spans = uniform_segments(duration, length)
    assert all(end - start == pytest.approx(length) for start, end in spans[:-1])
    tail = spans[-1][1] - spans[-1][0]
    assert tail < 1.5 * length + 1e-6
    assert len(spans) == 1 or tail >= 0.5 * length - 1e-6


def test_short_video_is_one_segment() -> None:
    assert uniform_segments(3.0, 8.0) == [(0.0, 3.0)]
    assert uniform_segments(11.0, 8.0) == [(0.0, 11.0)]
    assert uniform_segments(13.0, 8.0) == [(0.0, 8.0), (8.0, 13.0)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.floats(0.5, 1.0), st.floats(1, 100), st.integers(0, 99))
def test_runs_cover_all_spans_and_contain_similar_ones_only(
    scenes: list[int], similarity: float, max_seconds: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = np.eye(4)[scenes] + 0.1 * rng.normal(size=(len(scenes), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spans = uniform_segments(8.0 * len(scenes), 8.0)
    runs = group_static_spans(spans, vectors, similarity=similarity, max_seconds=max_seconds)
    assert [i for run in runs for i in run] == list(range(len(spans)))
    for run in runs:
        members = vectors[run.start : run.stop]
        assert len(run) == 1 or (members @ members.T).min() >= similarity - 1e-9
        assert len(run) == 1 or spans[run.stop - 1][1] - spans[run.start][0] <= max_seconds


def test_slow_pan_is_not_one_run() -> None:
    angles = np.linspace(0, np.pi / 2, 20)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    runs = group_static_spans(uniform_segments(160.0, 8.0), vectors, similarity=0.98, max_seconds=1_000)
    assert len(runs) > 5


def test_keyframe_is_the_most_representative_usable_frame() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    assert choose_keyframe([0.0, 0.5, 1.0, 1.5], vectors, [True] * 4) == 0.5
    assert choose_keyframe([0.0, 0.5, 1.0, 1.5], vectors, [True, False, True, True]) == 1.5
    assert choose_keyframe([0.0, 0.5], vectors[:2], [True, False]) == 0.5, "the first frame is the last choice"
    assert choose_keyframe([0.0], vectors[:1], [False]) == 0.0
    long = vectors * np.array([[1], [1], [9], [1]], np.float32)
    assert choose_keyframe([0.0, 0.5, 1.0, 1.5], long, [True] * 4) == 0.5, "the norm of a vector does not matter"


def test_black_and_flat_images_have_no_content() -> None:
    assert not has_content(plain(0, 0, 0))
    assert not has_content(plain(0, 0, 255))
    assert has_content(textured(1))


def half_seconds(count: int) -> np.ndarray:
    return np.arange(count) / 2


def test_span_grows_around_its_peak_only() -> None:
    scores = np.full(60, 0.1)
    scores[20:26] = [0.5, 0.7, 0.9, 0.8, 0.6, 0.2]
    assert anomaly_spans(half_seconds(60), scores, 30.0, min_score=0.3) == [(10.5, 12.5)]


def test_short_peak_is_widened_and_long_peak_is_cut() -> None:
    short, long = np.zeros(80), np.full(80, 0.9)
    short[10] = 0.8
    assert anomaly_spans(half_seconds(80), short, 40.0, min_score=0.3) == [(4.25, 6.25)]
    spans = anomaly_spans(half_seconds(80), long, 40.0, min_score=0.3)
    assert max(end - start for start, end in spans) <= 16


def test_scores_below_the_minimum_give_no_span() -> None:
    assert anomaly_spans(half_seconds(10), np.full(10, 0.29), 5.0, min_score=0.3) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.floats(0.05, 1), st.floats(0.1, 3), st.floats(0.01, 5))
def test_anomaly_spans_are_ordered_disjoint_and_contain_the_highest_peak(
    scores: list[float], min_score: float, step: float, tail: float
) -> None:
    times = np.arange(len(scores)) * step
    end = float(times[-1]) + tail
    spans = anomaly_spans(times, np.array(scores), end, min_score=min_score)
    assert spans == sorted(spans)
    assert all(0 <= start < stop <= end for start, stop in spans)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))
    if max(scores) >= min_score:
        highest = times[int(np.argmax(scores))]
        assert any(start <= highest < stop for start, stop in spans)
    else:
        assert not spans
