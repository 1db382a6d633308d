from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.anomaly_labels import Event, VideoLabels
from var_plugin.evaluation.anomaly_metrics import (
    AP,
    DETECTED,
    FALSE_ALARMS,
    FRAME_AUC,
    MEAN_AUC,
    PEAK,
    VIDEO_AUC,
    Ranking,
    Track,
    chance,
    cut,
    measure,
    peak_in_event,
)

sklearn = pytest.importorskip("sklearn.metrics")


def track(scores: list[float], step: float = 1.0) -> Track:
    starts = np.arange(len(scores)) * step
    return Track(starts, starts + step, np.array(scores, float))


def events(*spans: tuple[float, float], kind: str = "fire") -> VideoLabels:
    return VideoLabels(tuple(Event(start, end, (kind,)) for start, end in spans))


def agrees_with_sklearn(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> None:
    auc, ap = Ranking(scores, positive, weights)()
    assert auc[0] == pytest.approx(sklearn.roc_auc_score(positive, scores, sample_weight=weights), abs=1e-9)
    assert ap[0] == pytest.approx(sklearn.average_precision_score(positive, scores, sample_weight=weights), abs=1e-9)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_and_ap_are_those_of_scikit_learn_on_random_scores(levels: int) -> None:
    random = np.random.default_rng(levels)
    for _ in range(20):
        scores = random.integers(0, levels, 200) / levels
        positive = random.random(200) < random.uniform(0.02, 0.98)
        positive[:2] = True, False
        agrees_with_sklearn(scores, positive, random.uniform(0.1, 3, 200))


@pytest.mark.parametrize(
    "scores",
    [np.zeros(6), np.arange(6.0), -np.arange(6.0), np.array([1, 1, 1, 0, 0, 0.0]), np.array([0, 1, 1, 1, 1, 1.0]),
     np.array([1e-300, 0, 0, 1e300, -1e300, 1e300])],
)  # fmt: skip
def test_auc_and_ap_are_those_of_scikit_learn_on_adversarial_scores(scores: np.ndarray) -> None:
    for positive in ([1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1]):
        agrees_with_sklearn(scores, np.array(positive, bool), np.ones(6))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 4)), min_size=2, max_size=40))
def test_weights_count_like_repeated_frames(items: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = (np.array(column) for column in zip(*items, strict=True))
    whole = Ranking(scores.astype(float), positive.astype(bool), weights.astype(float))()
    frames = Ranking(
        np.repeat(scores, weights).astype(float), np.repeat(positive, weights).astype(bool), np.ones(weights.sum())
    )()
    np.testing.assert_allclose(np.ravel(whole), np.ravel(frames), equal_nan=True)


def test_factors_are_weights_of_several_rankings_at_once() -> None:
    random = np.random.default_rng(0)
    scores, positive, factors = random.integers(0, 9, 50) / 9, random.random(50) < 0.3, random.integers(0, 3, (7, 50))
    auc, ap = Ranking(scores, positive, np.ones(50))(factors)
    for number, weights in enumerate(factors):
        assert auc[number] == pytest.approx(sklearn.roc_auc_score(positive, scores, sample_weight=weights))
        assert ap[number] == pytest.approx(sklearn.average_precision_score(positive, scores, sample_weight=weights))


def test_the_frame_auc_equals_counting_frames() -> None:
    random = np.random.default_rng(3)
    tracks, labels, frame_scores, frame_labels = {}, {}, [], []
    for name in "abcd":
        scores = random.integers(0, 6, 20) / 6
        start = int(random.integers(0, 200))
        tracks[name] = track(list(scores), step=0.5)  # 10 s at 30 frames per second, 15 frames per clip
        labels[name] = events((start / 30, (start + 70) / 30))
        frame_scores.append(np.repeat(scores, 15))
        frame_labels.append((np.arange(300) >= start) & (np.arange(300) < start + 70))
    values = measure(tracks, labels, resamples=0).values
    joined = np.concatenate(frame_labels), np.concatenate(frame_scores)
    assert values[FRAME_AUC] == pytest.approx(sklearn.roc_auc_score(*joined), abs=1e-6)
    assert values[AP] == pytest.approx(sklearn.average_precision_score(*joined), abs=1e-6)
    single = [sklearn.roc_auc_score(truth, score) for truth, score in zip(frame_labels, frame_scores, strict=True)]
    assert values[MEAN_AUC] == pytest.approx(np.mean(single), abs=1e-6)


def test_clips_are_cut_at_the_borders_of_events() -> None:
    pieces = cut(track([1, 2, 3]), events((0.5, 1.25), (2.5, np.inf)))
    assert pieces.scores.tolist() == [1, 1, 2, 2, 3, 3]
    assert pieces.seconds.tolist() == [0.5, 0.5, 0.25, 0.75, 0.5, 0.5]
    assert pieces.anomalous.tolist() == [False, True, True, False, False, True]


def test_time_without_a_clip_or_outside_of_the_scope_is_left_out() -> None:
    gap = Track(np.array([0.0, 5.0]), np.array([1.0, 6.0]), np.array([1.0, 2.0]))
    assert cut(gap, events((0, 6))).seconds.sum() == 2
    labels = VideoLabels((Event(1, 2, ("fire",)),), scope=((0.0, 0.5), (1.0, 2.0)))
    assert cut(track([1, 2, 3]), labels).seconds.tolist() == [0.5, 1.0]


def test_time_of_other_kinds_is_left_out_of_the_metrics_of_a_kind() -> None:
    labels = VideoLabels((Event(0, 1, ("fire",)), Event(1, 2, ("fall",)), Event(1.5, 2, ("fire",))))
    pieces = cut(track([1, 2, 3]), labels, "fire")
    assert pieces.seconds.tolist() == [1, 0.5, 1]
    assert pieces.anomalous.tolist() == [True, True, False]


def test_equal_peaks_share_the_hit() -> None:
    assert peak_in_event(cut(track([5, 1, 5, 5]), events((0, 1)))) == pytest.approx(1 / 3)
    assert peak_in_event(cut(track([5, 1, 4, 4]), events((0, 1)))) == 1


def test_alarms_are_runs_that_are_merged_within_ten_seconds() -> None:
    scores = [1, 1, 0, 1] + [0] * 10 + [1] + [0] * 11 + [1]
    assert track([float(score) for score in scores]).alarms(1.0) == 2
    assert track([0.4, 0.5, 0.4]).alarms(0.5) == 1, "the threshold itself is an alarm"
    assert track([0.0]).alarms(0.5) == 0


def test_false_alarms_are_counted_in_normal_videos_only() -> None:
    tracks = {"normal": track([1.0] + [0.0] * 1799), "event": track([1.0] * 100), "quiet": track([0.0] * 1800)}
    labels = {"normal": VideoLabels(), "event": events((10, 20), (90, 95)), "quiet": VideoLabels()}
    values = measure(tracks, labels, threshold=0.5, resamples=0).values
    assert values[FALSE_ALARMS] == pytest.approx(1.0)
    assert values[DETECTED] == 1
    quiet = measure({"quiet": tracks["quiet"]}, labels, threshold=0.5)
    assert quiet.values == {FALSE_ALARMS: 0.0}
    assert quiet.intervals[FALSE_ALARMS].high == pytest.approx(6, abs=0.01), "3 per half hour: a Poisson limit"


def test_videos_are_compared_by_their_highest_score() -> None:
    tracks = {"a": track([0, 0.9]), "b": track([0.5, 0.5]), "c": track([0.1, 0.6])}
    labels = {"a": events((0, np.inf)), "b": VideoLabels(), "c": VideoLabels()}
    values = measure(tracks, labels, is_timed=False, resamples=0).values
    assert values == {VIDEO_AUC: 1.0}


def test_chance_is_the_mean_of_random_scores() -> None:
    random = np.random.default_rng(5)
    labels = {"a": events((0, 30)), "b": events((10, 20)), "c": VideoLabels()}
    drawn = [
        measure({name: track(list(random.random(100))) for name in labels}, labels, resamples=0).values
        for _ in range(300)
    ]
    expected = chance({name: track([0.0] * 100) for name in labels}, labels).values
    assert expected.keys() == {FRAME_AUC, AP, MEAN_AUC, PEAK, VIDEO_AUC}
    for name, value in expected.items():
        tolerance = 0.1 if name in (PEAK, VIDEO_AUC) else 0.03
        assert np.mean([values[name] for values in drawn]) == pytest.approx(value, abs=tolerance), name


def test_intervals_are_seeded_and_hold_the_value() -> None:
    random = np.random.default_rng(0)
    tracks = {str(number): track(list(random.random(40))) for number in range(12)}
    labels = {name: events((0, 10)) if int(name) % 2 else VideoLabels() for name in tracks}
    first, again, other = (measure(tracks, labels, threshold=0.5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    for name, interval in first.intervals.items():
        assert interval.low <= first.values[name] <= interval.high
    assert first.intervals.keys() == first.values.keys()


def test_a_single_video_has_no_interval() -> None:
    result = measure({"a": track([0, 1, 0, 1])}, {"a": events((1, 2))})
    assert result.values[FRAME_AUC] == pytest.approx(5 / 6)
    assert result.intervals == {}


@pytest.mark.parametrize(
    ("starts", "ends", "scores", "complaint"),
    [
        ([], [], [], "no scores"),
        ([0.0], [1.0], [np.nan], "NaN"),
        ([0.0], [np.inf], [1.0], "infinite"),
        ([1.0], [1.0], [1.0], "overlap or end"),
        ([0.0, 0.5], [1.0, 2.0], [1.0, 1.0], "overlap or end"),
    ],
)
def test_invalid_tracks_are_rejected(starts: list, ends: list, scores: list, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        Track(np.array(starts), np.array(ends), np.array(scores))
