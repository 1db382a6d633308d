"""Novelty: how unlike other footage of the same video or of the same camera a clip is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import Vectors, ensure_normalized

Scores = NDArray[np.float32]
"""(n,) in 0…1."""

# Clips within this time count as the same event and are not compared.
_SAME_EVENT_SECONDS = 30.0
_NEIGHBOURS = 5
# Long videos are compared with an evenly spaced sample of their clips: the cost stays linear.
_MAX_REFERENCES = 2_000
_CHUNK = 512
# Minimum spread: on a static scene, smaller cosine differences are noise.
_MIN_SPREAD = 0.02
# This z-score maps to 0.5.
_HALF_AT = 4.0


def novelty_scores(times: NDArray[np.floating], vectors: Vectors) -> NDArray[np.float32]:
    """Return the novelty of each clip: its distance to the most similar clips at other times of the video.

    The distance is one minus the mean cosine to the five nearest clips at least 30 s away. Its robust z-score z (median
    and MAD over the video) is mapped to z / (z + 4). Distances below the median score 0. A video shorter than 30 s
    scores 0 throughout.

    Args:
        times: (n,) seconds, ascending.
        vectors: (n, dim), of any norm.

    Returns:
        (n,) float32 in 0…1.
    """
    step = max(1, -(-len(times) // _MAX_REFERENCES))
    reference_times, references = times[::step], ensure_normalized(vectors[::step])
    distances = np.full(len(times), np.nan)
    for first in range(0, len(times), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        similarity = ensure_normalized(vectors[chunk]) @ references.T
        elsewhere = np.abs(times[chunk, None] - reference_times[None]) >= _SAME_EVENT_SECONDS
        similarity[~elsewhere] = -np.inf
        nearest = -np.partition(-similarity, min(_NEIGHBOURS, len(references)) - 1, axis=1)[:, :_NEIGHBOURS]
        valid = np.isfinite(nearest)
        sums = np.where(valid, nearest, 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            distances[chunk] = 1.0 - sums / valid.sum(axis=1)
    has_neighbours = np.isfinite(distances)
    if not has_neighbours.any():
        return np.zeros(len(times), np.float32)
    median = np.median(distances[has_neighbours])
    spread = max(1.4826 * float(np.median(np.abs(distances[has_neighbours] - median))), _MIN_SPREAD)
    deviations = np.where(has_neighbours, np.maximum(distances - median, 0.0), 0.0) / spread
    return (deviations / (deviations + _HALF_AT)).astype(np.float32)


UNDATED = -1
"""Clock time of footage whose clock time is unknown."""
MAX_VECTORS = 2_000
"""Maximum number of vectors that a camera's history keeps."""
LEARNED_HOURS = 24.0
"""The history of a camera counts fully after this many hours of footage."""

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
# An occasion is a slot of 15 minutes, or one video without a clock time.
_SLOT_MS = 15 * 60_000
_LEARNED_OCCASIONS = 20
_SEGMENT_SECONDS = 8.0
# The 24 hours of the day, and one for undated rows.
_STRATA = 25
_HALF_LIFE_DAYS = 7.0
_DECAY = np.log(2) / (_HALF_LIFE_DAYS * _DAY_MS)
# Footage is compared with footage at most this far from its time of day.
_TIME_OF_DAY_MS = 90 * 60_000
# A time of day is known if this many occasions were recorded at it.
_KNOWN_OCCASIONS = 8
# The distance is that to the nearest occasions of these ranks.
_FIRST_RANK, _LAST_RANK = 3, 5
# Maximum number of rows on which the usual distances are measured.
_MAX_MEASURED = 256
_NORMAL_P90 = 1.2816  # 90 % quantile of the standard normal distribution
_UNKNOWN_TIME_OF_DAY_WEIGHT = 0.5


def blend_novelty(history: Scores, within_video: Scores, learned: float) -> Scores:
    """Return the novelty against the camera's history, and that within the video as far as the history is unknown.

    Args:
        history: (n,) from `CameraHistory.novelty`.
        within_video: (n,) from `novelty_scores`.
        learned: `CameraHistory.learned`.
    """
    return np.asarray(learned * history + (1 - learned) * within_video, np.float32)


@dataclass(frozen=True)
class _Rows:
    """Rows of a history."""

    keys: NDArray[np.uint64]
    """(n,) hash of the id of the segment."""
    vectors: Vectors
    """(n, dim), L2-normalised."""
    recorded: NDArray[np.int64]
    """(n,) ms since 1970 UTC, or `UNDATED`."""
    seconds: NDArray[np.float32]
    """(n,) duration."""
    videos: NDArray[np.int64]
    """(n,) hash of the id of the video, negative."""

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, selected: NDArray[np.intp] | NDArray[np.bool_]) -> _Rows:
        return _Rows(*(getattr(self, field.name)[selected] for field in fields(self)))

    def join(self, other: _Rows) -> _Rows:
        columns = [field.name for field in fields(self)]
        return _Rows(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in columns))

    @property
    def is_dated(self) -> NDArray[np.bool_]:
        return np.asarray(self.recorded != UNDATED)

    @cached_property
    def occasions(self) -> NDArray[np.int64]:
        """(n,) number of the occasion of each row."""
        return np.where(self.is_dated, self.recorded // _SLOT_MS, self.videos)


class CameraHistory:
    """What a camera usually shows: a bounded sample of its segments, and how unlike it other footage is.

    **Sample.** At most 2,000 rows, evenly over the hours of the day. Undated rows count as one more hour. Within an
    hour, rows are drawn by a hash of their ids, with a weight that halves every seven days (bottom-k sampling with
    forward decay, Cormode et al. 2009). The sample is a function of the set of added rows: their order does not
    matter, and adding a row again changes nothing.

    **Novelty.** A segment is compared with rows within 90 minutes of its time of day (UTC), or with all rows while less
    than eight occasions are known at that time of day. An occasion is a slot of 15 minutes, or one undated video. The
    distance is one minus the mean cosine to the third to fifth nearest occasion: an event that occurred on one or two
    occasions stays novel. Rows of the same video, and rows within 15 minutes, are left out. The distance is
    standardised by the median and the spread of the same distances between the rows of the history.

    **Moved camera.** If nearly all rows since some time are unlike all earlier rows of their time of day, the camera
    was moved. Earlier rows no longer count.
    """

    def __init__(self) -> None:
        self._rows: _Rows | None = None
        self._per_stratum = MAX_VECTORS
        self._first_dropped = np.full(_STRATA, np.inf)
        self._state: _State | None = None

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    @property
    def nbytes(self) -> int:
        """Memory of the rows in bytes."""
        return 0 if self._rows is None else sum(getattr(self._rows, each.name).nbytes for each in fields(self._rows))

    def add(
        self,
        ids: Sequence[str],
        vectors: Vectors,
        recorded_ms: NDArray[np.int64],
        video_ids: str | Sequence[str],
        seconds: NDArray[np.floating] | None = None,
    ) -> None:
        """Add segments.

        Args:
            ids: n ids of segments, unique over all videos.
            vectors: (n, dim), of any norm.
            recorded_ms: (n,) start in ms since 1970 UTC, or `UNDATED`.
            video_ids: id of their video, or n ids.
            seconds: (n,) durations. Default: 8 s each.
        """
        if not len(ids):
            return
        videos = [_video_number(video_ids)] * len(ids) if isinstance(video_ids, str) else _video_numbers(video_ids)
        rows = _Rows(
            np.array([_hash(each) for each in ids], np.uint64),
            ensure_normalized(np.asarray(vectors, np.float32)),
            np.asarray(recorded_ms, np.int64),
            np.full(len(ids), _SEGMENT_SECONDS, np.float32) if seconds is None else np.asarray(seconds, np.float32),
            np.asarray(videos, np.int64),
        )
        if self._rows is not None:
            rows = rows.join(self._rows)
        self._rows = self._sample(rows.take(np.unique(rows.keys, return_index=True)[1]))
        self._state = None

    def _sample(self, rows: _Rows) -> _Rows:
        strata, priorities = _strata(rows), _priorities(rows)
        counts = np.bincount(strata, minlength=_STRATA)
        while np.minimum(counts, self._per_stratum).sum() > MAX_VECTORS:
            self._per_stratum -= 1
        order = np.lexsort((rows.keys, priorities, strata))
        ranks = np.arange(len(rows)) - (np.cumsum(counts) - counts)[strata[order]]
        dropped = order[ranks >= self._per_stratum]
        np.minimum.at(self._first_dropped, strata[dropped], priorities[dropped])
        return rows.take(order[ranks < self._per_stratum])

    def novelty(self, vectors: Vectors, recorded_ms: NDArray[np.int64], video_id: str) -> Scores:
        """Return how unlike the history the segments of one video are. 0.5 is clearly unusual.

        The score is 0 if there are less than three other occasions to compare with. It counts by half at a time of day
        that is not known.

        Args:
            vectors: (n, dim), of any norm.
            recorded_ms: (n,) start in ms since 1970 UTC, or `UNDATED`.
            video_id: the video. Its own rows are left out of the history.
        """
        scores = np.zeros(len(vectors), np.float32)
        if self._rows is None or not len(vectors):
            return scores
        reference = self._current.reference
        if (own := reference.rows.videos == _video_number(video_id)).any():
            reference = _Reference(reference.rows.take(~own))
        vectors = ensure_normalized(np.asarray(vectors, np.float32))
        slots = np.where(recorded_ms == UNDATED, _ALL_DAY, recorded_ms % _DAY_MS // _SLOT_MS)
        for slot in np.unique(slots):
            selected = slots == slot
            scores[selected] = reference.novelty(vectors[selected], recorded_ms[selected], int(slot))
        return scores

    @property
    def hours(self) -> float:
        """Hours of footage seen, or seen since the camera was moved. Estimated if rows were dropped."""
        return self._current.hours if self._rows is not None else 0.0

    @property
    def learned(self) -> float:
        """How well the camera is known, 0…1: the share of 24 hours and of 20 occasions that were seen."""
        if self._rows is None:
            return 0.0
        occasions = len(np.unique(self._current.reference.rows.occasions))
        return min(1.0, self.hours / LEARNED_HOURS, occasions / _LEARNED_OCCASIONS)

    @property
    def moved_at(self) -> int | None:
        """Time in ms since 1970 UTC at which the camera was moved, if earlier rows are still in the history."""
        return self._current.moved_at if self._rows is not None else None

    @property
    def status(self) -> str:
        """A sentence on how well the camera is known."""
        duration = f"{60 * self.hours:.0f} minutes" if self.hours < 2 else f"{self.hours:.0f} hours"
        state = f"learned from {duration}" if self.learned == 1 else f"learning: {duration} seen"
        if self.moved_at is None:
            return state
        moved = datetime.fromtimestamp(self.moved_at / 1000, UTC)
        return f"the camera was moved at {moved:%Y-%m-%d %H:%M} UTC; {state}"

    @property
    def _current(self) -> _State:
        """What is derived from the rows, computed on first use after a change."""
        if self._state is None:
            if self._rows is None:
                raise ValueError("the history is empty")
            moved_at = _last_move(self._rows)
            counted = self._rows.take(self._rows.recorded >= moved_at) if moved_at is not None else self._rows
            self._state = _State(_Reference(counted), moved_at, self._hours(counted))
        return self._state

    def _hours(self, rows: _Rows) -> float:
        """Estimate the duration of all added rows from the sample: the Horvitz-Thompson estimator."""
        exponents = _DECAY * np.where(rows.is_dated, rows.recorded, 0) + self._first_dropped[_strata(rows)]
        with np.errstate(over="ignore"):
            inclusion = -np.expm1(-np.exp(exponents))
        return float((rows.seconds / inclusion).sum() / 3600)


def _strata(rows: _Rows) -> NDArray[np.int64]:
    return np.where(rows.is_dated, rows.recorded // _HOUR_MS % 24, _STRATA - 1)


def _priorities(rows: _Rows) -> NDArray[np.float64]:
    """Return the logarithm of an exponential variable with the rate of the row's weight. The smallest are kept."""
    uniform = (rows.keys.astype(np.float64) + 0.5) / 2.0**64
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.log1p(-uniform)) - _DECAY * np.where(rows.is_dated, rows.recorded, 0), np.float64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


def _video_number(video_id: str) -> int:
    return -(_hash(video_id) >> 1) - 1


def _video_numbers(video_ids: Sequence[str]) -> list[int]:
    numbers = {video_id: _video_number(video_id) for video_id in set(video_ids)}
    return [numbers[video_id] for video_id in video_ids]


_ALL_DAY = -1
# On a static scene, smaller differences of distances are noise.
_MIN_HISTORY_SPREAD = 0.01
# This z-score maps to 0.5. Chosen on `benchmarks/novelty.py` for about one false alarm in ten camera-hours.
_HISTORY_HALF_AT = 8.0


class _Reference:
    """Rows to compare with, sorted by occasion. Windows of the time of day are prepared on first use."""

    def __init__(self, rows: _Rows) -> None:
        self.rows = rows.take(np.lexsort((rows.keys, rows.occasions)))
        self._windows: dict[int, _Window] = {}

    def novelty(self, vectors: Vectors, recorded: NDArray[np.int64], slot: int) -> Scores:
        """Return the scores (n,) of segments that start in one slot of the day, or in `_ALL_DAY`."""
        window, weight = self._window(slot), 1.0
        if slot != _ALL_DAY and len(window.starts) < _KNOWN_OCCASIONS and self.rows.is_dated.any():
            window, weight = self._window(_ALL_DAY), _UNKNOWN_TIME_OF_DAY_WEIGHT
        deviations = (window.distances(vectors, recorded) - window.median) / window.spread
        deviations = np.where(np.isfinite(deviations), np.maximum(deviations, 0.0), 0.0)
        return np.asarray(weight * deviations / (deviations + _HISTORY_HALF_AT), np.float32)

    def _window(self, slot: int) -> _Window:
        if slot not in self._windows:
            rows = self.rows
            if slot != _ALL_DAY:
                distance = _circular_ms(rows.recorded - (slot * _SLOT_MS + _SLOT_MS // 2))
                rows = rows.take(rows.is_dated & (distance <= _TIME_OF_DAY_MS))
            self._windows[slot] = _Window(rows)
        return self._windows[slot]


@dataclass(frozen=True)
class _State:
    """What is derived from the rows of a history."""

    reference: _Reference
    moved_at: int | None
    hours: float


class _Window:
    """Rows of one time of day, sorted by occasion, and the usual distances between them."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows
        occasions = rows.occasions
        self.starts = np.flatnonzero(np.concatenate([[True], occasions[1:] != occasions[:-1]])[: len(rows)])
        measured = rows.take(np.argsort(rows.keys)[:_MAX_MEASURED])
        distances = self.distances(measured.vectors, measured.recorded, measured.videos)
        self.median, self.spread = _center_and_spread(distances, _MIN_HISTORY_SPREAD)

    def distances(
        self, vectors: Vectors, recorded: NDArray[np.int64], videos: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Return the distances (n,) of segments to the rows. NaN: there are too few occasions.

        Args:
            vectors: (n, dim) L2-normalised.
            recorded: (n,) ms since 1970 UTC, or `UNDATED`.
            videos: (n,) rows of these videos are left out.
        """
        result = np.full(len(vectors), np.nan)
        if len(self.starts) < _FIRST_RANK:
            return result
        for first in range(0, len(vectors), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            similarity = vectors[chunk] @ self._rows.vectors.T
            times = recorded[chunk, None]
            excluded = (np.abs(times - self._rows.recorded) < _SLOT_MS) & (times != UNDATED) & self._rows.is_dated
            if videos is not None:
                excluded |= videos[chunk, None] == self._rows.videos
            similarity[excluded] = -np.inf
            best = np.maximum.reduceat(similarity, self.starts, axis=1)
            count = min(_LAST_RANK, best.shape[1])
            nearest = -np.sort(np.partition(-best, count - 1, axis=1)[:, :count], axis=1)[:, _FIRST_RANK - 1 :]
            is_valid = np.isfinite(nearest)
            with np.errstate(invalid="ignore"):
                result[chunk] = 1.0 - np.where(is_valid, nearest, 0.0).sum(axis=1) / is_valid.sum(axis=1)
        return result


def _center_and_spread(distances: NDArray[np.float64], least: float) -> tuple[float, float]:
    """Return the median and the spread: the larger of the scaled MAD, the scaled 90 % quantile, and `least`."""
    finite = distances[np.isfinite(distances)]
    if not len(finite):
        return np.nan, least
    median, high = np.quantile(finite, [0.5, 0.9])
    mad = 1.4826 * float(np.median(np.abs(finite - median)))
    return float(median), max(mad, float(high - median) / _NORMAL_P90, least)


def _circular_ms(difference: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distance between times of day."""
    remainder = difference % _DAY_MS
    return np.minimum(remainder, _DAY_MS - remainder)


# The rows in which a move is looked for: the latest, and some of the others.
_LATEST_ROWS, _OTHER_ROWS = 300, 500
_MOVED_SHARE = 0.9
_MOVED_DEVIATIONS = 6.0
_MIN_MOVED_ROWS, _MIN_MOVED_OCCASIONS = 8, 4
# Minimum number of earlier occasions at the time of day of a row that can show a move.
_MIN_EARLIER_OCCASIONS = 3


def _last_move(rows: _Rows) -> int | None:
    """Return the time in ms since 1970 UTC since which the camera has another view, or None."""
    rows = rows.take(rows.is_dated)
    rows = rows.take(np.lexsort((rows.keys, rows.recorded)))
    others = np.sort(np.argsort(rows.keys[:-_LATEST_ROWS])[:_OTHER_ROWS])
    rows = rows.take(np.concatenate([others, np.arange(max(0, len(rows) - _LATEST_ROWS), len(rows))]))
    moved_at = None
    while (position := _first_move(rows)) is not None:
        moved_at = int(rows.recorded[position])
        rows = rows.take(np.arange(position, len(rows)))
    return moved_at


def _first_move(rows: _Rows) -> int | None:
    """Return the first row since which nearly all rows are unlike all earlier rows of their time of day.

    Args:
        rows: n dated rows in order of time.
    """
    count = len(rows)
    if count < 2 * _MIN_MOVED_ROWS:
        return None
    similarity = rows.vectors @ rows.vectors.T
    gap = rows.recorded[:, None] - rows.recorded
    is_comparable = (_circular_ms(gap) <= _TIME_OF_DAY_MS) & (np.abs(gap) >= _SLOT_MS)
    similarity[~is_comparable] = -np.inf
    nearest = similarity.max(axis=1)
    if not np.isfinite(nearest).any():
        return None
    median, spread = _center_and_spread(1.0 - nearest.astype(np.float64), _MIN_HISTORY_SPREAD)
    limit = median + _MOVED_DEVIATIONS * spread
    starts = np.concatenate([[True], rows.occasions[1:] != rows.occasions[:-1]])
    # Column p describes a move before row p.
    is_later = np.tri(count, dtype=bool)
    earlier = np.full((count, count), -np.inf, np.float32)
    earlier[:, 1:] = np.maximum.accumulate(similarity, axis=1)[:, :-1]
    occasions = np.cumsum(is_comparable & starts, axis=1) - (is_comparable & starts)
    is_judged = is_later & (occasions >= _MIN_EARLIER_OCCASIONS)
    is_unlike = is_judged & (1.0 - earlier > limit)
    judged = is_judged.sum(axis=0)
    with np.errstate(invalid="ignore"):
        share = is_unlike.sum(axis=0) / judged
    share[(judged < _MIN_MOVED_ROWS) | ~starts] = 0.0
    moved = np.flatnonzero(share >= _MOVED_SHARE)
    while len(moved):
        # Neighbouring positions describe the same move.
        run = moved[: int(np.argmax(np.append(np.diff(moved) > _MIN_MOVED_ROWS, True))) + 1]
        position = int(run[np.argmax(share[run])])
        judged_occasions = len(np.unique(rows.occasions[is_judged[:, position]]))
        is_stable = np.mean(1.0 - similarity[position:, position:].max(axis=1) <= limit) >= 0.5
        if judged_occasions >= _MIN_MOVED_OCCASIONS and is_stable:
            return position
        moved = moved[len(run) :]
    return None
