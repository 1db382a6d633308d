"""Metrics of anomaly scores over labelled time, with bootstrap intervals over videos.

Time is cut at the borders of clips and events. Every piece has one score, one label and a duration, which is its
weight. This equals the frame-level protocol of UCF-Crime and XD-Violence at any constant frame rate: a frame has the
score of its clip. Equal scores count as half in the AUC, and as one threshold in the average precision (AP).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.anomaly_labels import VideoLabels
from var_plugin.evaluation.metrics import Interval

Array = NDArray[np.float64]

FRAME_AUC, AP, VIDEO_AUC = "frame AUC", "AP", "AUC of videos"
MEAN_AUC, PEAK = "mean AUC per video", "peak in event"
DETECTED, FALSE_ALARMS = "events detected", "false alarms per hour"
METRICS = (FRAME_AUC, AP, MEAN_AUC, PEAK, VIDEO_AUC, DETECTED, FALSE_ALARMS)

MERGE_SECONDS = 10.0
"""Alarms with a shorter gap are one alarm."""
_BATCH_VALUES = 4_000_000


@dataclass(frozen=True)
class Track:
    """The scores of one method on the clips of one video, in order of time. Clips do not overlap.

    Args:
        starts: (n,) seconds.
        ends: (n,) seconds.
        scores: (n,); larger is more anomalous.
    """

    starts: Array
    ends: Array
    scores: Array

    def __post_init__(self) -> None:
        if not len(self.scores):
            raise InvalidInputError("a video has no scores", fix="leave it out")
        if not all(np.isfinite(values).all() for values in (self.starts, self.ends, self.scores)):
            raise InvalidInputError("a score or a time is NaN or infinite", fix="check the method that computed it")
        # Clips that touch may overlap by rounding.
        if (self.ends <= self.starts).any() or (self.starts[1:] < self.ends[:-1] - 1e-3).any():
            raise InvalidInputError("clips overlap or end before their start", fix="order clips by time")

    @property
    def seconds(self) -> float:
        """Return the scored time."""
        return float((self.ends - self.starts).sum())

    def alarms(self, threshold: float) -> int:
        """Return the number of runs of clips with at least this score. Runs with a short gap are one alarm."""
        above = self.scores >= threshold
        if not above.any():
            return 0
        return 1 + int((self.starts[above][1:] - self.ends[above][:-1] > MERGE_SECONDS).sum())


@dataclass(frozen=True)
class Pieces:
    """The labelled time of one video in pieces."""

    scores: Array
    seconds: Array
    anomalous: NDArray[np.bool_]

    @property
    def is_mixed(self) -> bool:
        """Whether both classes occur."""
        return bool(self.anomalous.any() and not self.anomalous.all())


def cut(track: Track, labels: VideoLabels, kind: str | None = None) -> Pieces:
    """Cut the scored time of a video at the borders of clips and events.

    Args:
        track: the scores.
        labels: the labels, in seconds.
        kind: the kind of events that count as anomalous; time of other events is left out. None: all events.
    """
    own = [event for event in labels.events if kind is None or kind in event.kinds]
    others = [event for event in labels.events if event not in own]
    scope = labels.scope or ((-np.inf, np.inf),)
    borders = [time for event in labels.events for time in (event.start, event.end)] + [t for s in scope for t in s]
    inside = [time for time in borders if track.starts[0] < time < track.ends[-1]]
    times = np.unique(np.concatenate([track.starts, track.ends, inside]))
    middles = (times[1:] + times[:-1]) / 2
    clips = np.searchsorted(track.starts, middles, side="right") - 1
    anomalous = _covered(middles, [(event.start, event.end) for event in own])
    used = (middles < track.ends[clips]) & _covered(middles, scope)
    used &= anomalous | ~_covered(middles, [(event.start, event.end) for event in others])
    return Pieces(track.scores[clips][used], np.diff(times)[used], anomalous[used])


def _covered(times: Array, spans: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    covered = np.zeros(len(times), bool)
    for start, end in spans:
        covered |= (times >= start) & (times < end)
    return covered


class Ranking:
    """Scores of both classes in order, for the AUC and the AP under several weightings.

    Args:
        scores: (n,), at least one.
        positive: (n,) bool.
        weights: (n,) of the items, such as seconds.
    """

    def __init__(self, scores: Array, positive: NDArray[np.bool_], weights: Array) -> None:
        order = np.argsort(scores, kind="stable")
        ordered = scores[order]
        self._order = order
        self._groups = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        self._positive = np.where(positive, weights, 0.0)[order]
        self._negative = np.where(positive, 0.0, weights)[order]

    def __call__(self, factors: Array | NDArray[np.int64] | None = None) -> tuple[Array, Array]:
        """Return the AUC (m,) and the AP (m,). They are NaN where a class is missing.

        Args:
            factors: (m, n) factors of the weights. None: m is 1.
        """
        ordered = np.ones((1, 1)) if factors is None else factors[:, self._order]
        positive = np.add.reduceat(self._positive * ordered, self._groups, axis=1)
        negative = np.add.reduceat(self._negative * ordered, self._groups, axis=1)
        positives, negatives = positive.sum(axis=1), negative.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            below = np.cumsum(negative, axis=1) - negative / 2
            auc = (positive * below).sum(axis=1) / (positives * negatives)
            hits = np.cumsum(positive[:, ::-1], axis=1)
            misses = np.cumsum(negative[:, ::-1], axis=1)
            precision = np.nan_to_num(hits / (hits + misses))
            ap = (positive[:, ::-1] * precision).sum(axis=1) / positives
        return auc, np.where(negatives > 0, ap, np.nan)


def peak_in_event(pieces: Pieces) -> float:
    """Return whether the highest score lies in an event. If several clips have it, return the share of their time."""
    highest = pieces.scores == pieces.scores.max()
    return float(pieces.seconds[highest & pieces.anomalous].sum() / pieces.seconds[highest].sum())


@dataclass(frozen=True)
class Metrics:
    """Metrics by name, with 95 % intervals. A metric that the labels do not define is missing."""

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]


def measure(
    tracks: Mapping[str, Track],
    labels: Mapping[str, VideoLabels],
    *,
    kind: str | None = None,
    is_timed: bool = True,
    threshold: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Metrics:
    """Measure the scores of one method.

    Args:
        tracks: scores by video.
        labels: labels by video, in seconds; of all videos in `tracks`.
        kind: measure the events of one kind against normal time. None: all events.
        is_timed: whether the times of events are known. If not, only whole videos are compared.
        threshold: minimum score of an alarm. None: no alarms are counted.
        resamples: bootstrap resamples of the videos. 0: no intervals.
        seed: random seed of the bootstrap. Equal seeds draw the same videos for every method.
    """
    names = [name for name in tracks if kind is None or labels[name].is_normal or kind in labels[name].kinds()]
    cuts = {name: cut(tracks[name], labels[name], kind) for name in names}
    cuts = {name: pieces for name, pieces in cuts.items() if len(pieces.scores)}
    if not cuts:
        return Metrics({}, {})
    names, pieces = list(cuts), list(cuts.values())
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    positives = sum(bool(piece.anomalous.any()) for piece in pieces)
    of_videos, _ = _rank([_whole(piece) for piece in pieces], draws)
    results = {VIDEO_AUC: replace(of_videos, videos=min(positives, len(pieces) - positives))}
    if is_timed:
        results[FRAME_AUC], results[AP] = _rank(pieces, draws)
        mixed = [piece.is_mixed for piece in pieces]
        for name, function in ((MEAN_AUC, _auc), (PEAK, peak_in_event)):
            values = [function(piece) if piece.is_mixed else 0.0 for piece in pieces]
            results[name] = _ratio(values, mixed, draws)
    hours = [tracks[name].seconds / 3600 * labels[name].is_normal for name in names]
    if threshold is not None:
        if is_timed:
            counts = [_detected(tracks[name], labels[name], kind, threshold) for name in names]
            results[DETECTED] = _ratio([hits for hits, _ in counts], [events for _, events in counts], draws)
        alarms = [tracks[name].alarms(threshold) * labels[name].is_normal for name in names]
        results[FALSE_ALARMS] = _ratio(alarms, hours, draws)
    defined = {name: results[name] for name in METRICS if name in results and np.isfinite(results[name].value)}
    intervals = {name: _interval(result) for name, result in defined.items()}
    if resamples and FALSE_ALARMS in defined and defined[FALSE_ALARMS].value == 0:
        # Without an alarm, resampling says nothing. This is the 95 % upper limit of a Poisson rate.
        intervals[FALSE_ALARMS] = Interval(0.0, -math.log(0.05) / sum(hours))
    return Metrics(
        {name: result.value for name, result in defined.items()},
        {name: interval for name, interval in intervals.items() if interval},
    )


@dataclass(frozen=True)
class _Drawn:
    """A metric, its values on the resamples, and the number of videos it depends on (those of the rarer class).

    With fewer than two such videos, resampling says nothing about the spread.
    """

    value: float
    resampled: Array
    videos: int


def _rank(pieces: Sequence[Pieces], draws: NDArray[np.int64]) -> tuple[_Drawn, _Drawn]:
    """Return the AUC and the AP over the pieces of all videos. `draws` is (resamples, videos)."""
    videos = np.repeat(np.arange(len(pieces)), [len(piece.scores) for piece in pieces])
    ranking = Ranking(
        np.concatenate([piece.scores for piece in pieces]),
        np.concatenate([piece.anomalous for piece in pieces]),
        np.concatenate([piece.seconds for piece in pieces]),
    )
    size = max(1, _BATCH_VALUES // len(videos))
    batches = [ranking(draws[first : first + size, videos]) for first in range(0, len(draws), size)]
    auc, ap = (np.concatenate([np.zeros(0), *(batch[column] for batch in batches)]) for column in (0, 1))
    value = ranking()
    return _Drawn(float(value[0][0]), auc, len(pieces)), _Drawn(float(value[1][0]), ap, len(pieces))


def _ratio(numerators: Sequence[float], denominators: Sequence[float], draws: NDArray[np.int64]) -> _Drawn:
    """Return the ratio of two sums over the videos."""
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _Drawn(float(top.sum() / bottom.sum()), (draws @ top) / (draws @ bottom), int((bottom > 0).sum()))


def chance(tracks: Mapping[str, Track], labels: Mapping[str, VideoLabels], *, is_timed: bool = True) -> Metrics:
    """Return the expected metrics of random scores."""
    pieces = [cut(track, labels[name]) for name, track in tracks.items()]
    mixed = [piece for piece in pieces if piece.is_mixed]
    shares = [piece.seconds[piece.anomalous].sum() / piece.seconds.sum() for piece in mixed]
    total = sum(piece.seconds.sum() for piece in pieces)
    share = sum(piece.seconds[piece.anomalous].sum() for piece in pieces) / total if total else 0.0
    values: dict[str, float] = {}
    if is_timed and 0 < share < 1:
        values |= {FRAME_AUC: 0.5, AP: float(share)}
    if is_timed and mixed:
        values |= {MEAN_AUC: 0.5, PEAK: float(np.mean(shares))}
    if len({labels[name].is_normal for name in tracks}) == 2:
        values[VIDEO_AUC] = 0.5
    return Metrics(values, {})


def _auc(pieces: Pieces) -> float:
    auc, _ = Ranking(pieces.scores, pieces.anomalous, pieces.seconds)()
    return float(auc[0])


def _whole(pieces: Pieces) -> Pieces:
    """Return a video as one piece, with its highest score."""
    return Pieces(pieces.scores.max(keepdims=True), np.ones(1), np.array([pieces.anomalous.any()]))


def _detected(track: Track, labels: VideoLabels, kind: str | None, threshold: float) -> tuple[int, int]:
    """Return the number of events with an alarm, and the number of events with scored time."""
    spans = [(event.start, event.end) for event in labels.events if kind is None or kind in event.kinds]
    scores = [track.scores[(track.starts < end) & (track.ends > start)] for start, end in spans]
    return sum(bool((score >= threshold).any()) for score in scores), sum(len(score) > 0 for score in scores)


def _interval(drawn: _Drawn) -> Interval | None:
    """Return the 95 % percentile interval. Resamples in which the metric is undefined are left out."""
    defined = drawn.resampled[np.isfinite(drawn.resampled)]
    if drawn.videos < 2 or len(defined) == 0 or 2 * len(defined) < len(drawn.resampled):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high))
