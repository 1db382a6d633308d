from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.films import plain, textured
from var_plugin.media.segments import key_frame, shows_something, static_runs, uniform_segments

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
def test_segments_are_of_the_length_but_for_the_tail(duration: float, length: float) -> None:
    spans = uniform_segments(duration, length)
    assert all(end - start == pytest.approx(length) for start, end in spans[:-1])
    tail = spans[-1][1] - spans[-1][0]
    assert tail < 1.5 * length + 1e-6
    assert len(spans) == 1 or tail >= 0.5 * length - 1e-6


def test_a_short_video_is_one_segment() -> None:
    assert uniform_segments(3.0, 8.0) == [(0.0, 3.0)]
    assert uniform_segments(11.0, 8.0) == [(0.0, 11.0)]
    assert uniform_segments(13.0, 8.0) == [(0.0, 8.0), (8.0, 13.0)]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.floats(0.5, 1.0), st.floats(1, 100), st.integers(0, 99))
def test_runs_cover_everything_and_hold_only_what_is_alike(
    scenes: list[int], similarity: float, longest: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = np.eye(4)[scenes] + 0.1 * rng.normal(size=(len(scenes), 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spans = uniform_segments(8.0 * len(scenes), 8.0)
    runs = static_runs(spans, vectors, similarity=similarity, longest=longest)
    assert [i for run in runs for i in run] == list(range(len(spans)))
    for run in runs:
        members = vectors[run.start : run.stop]
        assert len(run) == 1 or (members @ members.T).min() >= similarity - 1e-9
        assert len(run) == 1 or spans[run.stop - 1][1] - spans[run.start][0] <= longest


def test_a_slow_pan_is_not_one_run() -> None:
    angles = np.linspace(0, np.pi / 2, 20)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    runs = static_runs(uniform_segments(160.0, 8.0), vectors, similarity=0.98, longest=1_000)
    assert len(runs) > 5


def test_the_key_frame_is_the_most_typical_usable_one() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    assert key_frame([0.0, 0.5, 1.0, 1.5], vectors, [True] * 4) == 0.5
    assert key_frame([0.0, 0.5, 1.0, 1.5], vectors, [True, False, True, True]) == 1.5
    assert key_frame([0.0, 0.5], vectors[:2], [True, False]) == 0.5, "rather dark than the first frame"
    assert key_frame([0.0], vectors[:1], [False]) == 0.0


def test_black_and_flat_pictures_show_nothing() -> None:
    assert not shows_something(plain(0, 0, 0))
    assert not shows_something(plain(0, 0, 255))
    assert shows_something(textured(1))
