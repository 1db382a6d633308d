"""Join scored segments into moments: anchored at a peak, grown while the score stays near it, without overlaps."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from heapq import merge
from itertools import takewhile

from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError
from var_plugin.index.catalog import Entry
from var_plugin.index.filters import clock_time
from var_plugin.index.index import Hit, VideoIndex
from var_plugin.types import MIN_EVENT_SCORE, Event, Grade, Moment

# Spans with a gap up to this length count as adjacent. Times are stored in milliseconds.
_MAX_GAP_SECONDS = 0.05
_MAX_LISTED_EVENTS = 3


@dataclass(frozen=True)
class Scored:
    """A segment with its z-score per space."""

    hit: Hit
    matched: dict[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of the score of each space; default 1."""

    score: float = field(init=False)
    """The highest weighted z-score."""

    def __post_init__(self) -> None:
        scores = [self.weights.get(space, 1.0) * score for space, score in self.matched.items()]
        object.__setattr__(self, "score", max(scores))


@dataclass(frozen=True)
class Peak:
    """A span of one video around its best segment."""

    best: Scored
    start: float
    end: float
    strongest: Hit
    """The segment of the span with the highest anomaly score."""
    matched: dict[str, float] = field(default_factory=dict)
    """The highest z-score in the span, per space."""
    lead: float | None = None
    """How far the score lies above those of the peaks that follow; see `retrievers.grades`."""


def most_anomalous(segments: Iterable[Hit], start: float, end: float) -> Hit | None:
    """Return the segment with the highest anomaly score that overlaps a span in seconds, or None."""
    overlapping = [segment for segment in segments if segment.start < end and segment.end > start]
    return max(overlapping, key=lambda segment: segment.anomaly, default=None)


def check_kinds(suite: Suite, kinds: Sequence[str] | None) -> None:
    """Raise `InvalidInputError` for a kind of event that the footage of a suite cannot have."""
    known = suite.event_kinds if kinds else ()
    for kind in kinds or ():
        if kind not in known:
            raise InvalidInputError(f"'{kind}' is not a kind of event", why=f"the kinds are {', '.join(known)}")


def moments_overlap(one: Moment, other: Moment) -> bool:
    """Return whether two moments share a part of a video."""
    return one.video_id == other.video_id and one.start < other.end and one.end > other.start


def build_moments(
    index: VideoIndex,
    peaks: Sequence[Peak],
    *,
    confidence: Callable[[Peak], float | None] = lambda peak: None,
    grade: Callable[[Peak], Grade | None] = lambda peak: None,
    thumbnails: bool = False,
) -> list[Moment]:
    """Return the moments of peaks, in the given order.

    Args:
        index: index of the peaks.
        peaks: peaks. Those of videos that have been deleted since they were read are left out.
        confidence: returns the match probability of a peak, or None.
        grade: returns the grade of a peak, or None.
        thumbnails: create a thumbnail of each moment.
    """
    entries = index.entries([peak.best.hit.video_id for peak in peaks])
    return [
        _moment(index, entries[peak.best.hit.video_id], peak, confidence(peak), grade(peak), thumbnails)
        for peak in peaks
        if peak.best.hit.video_id in entries
    ]


def _moment(
    index: VideoIndex, entry: Entry, peak: Peak, confidence: float | None, grade: Grade | None, thumbnails: bool
) -> Moment:
    best, strongest = peak.best.hit, peak.strongest
    video_clock = clock_time(entry.latest_sighting.recorded_at)
    return Moment(
        id=moment_id(best.video_id, peak.start, peak.end),
        video_id=best.video_id,
        uri=entry.latest_sighting.path,
        camera=best.camera,
        start=peak.start,
        end=peak.end,
        peak=best.key,
        score=peak.best.score,
        confidence=confidence,
        grade=grade,
        anomaly_score=strongest.anomaly,
        events=list_events(strongest),
        novelty=strongest.novelty,
        matched=peak.matched,
        recorded_at=video_clock and video_clock + timedelta(seconds=peak.start),
        thumbnail=index.thumbnail(entry, best.key) if thumbnails else None,
    )


def list_events(segment: Hit) -> tuple[Event, ...]:
    """Return the recognised events of a segment, the strongest first. The reason belongs to the strongest one."""
    ranked = sorted(segment.events.items(), key=lambda event: (-event[1], event[0]))
    listed = [(kind, score) for kind, score in ranked if score >= MIN_EVENT_SCORE][:_MAX_LISTED_EVENTS]
    return tuple(
        Event(kind=kind, score=score, reason=(segment.reason or None) if rank == 0 else None)
        for rank, (kind, score) in enumerate(listed)
    )


def moment_id(video_id: str, start: float, end: float) -> str:
    """Return the id of a span of a video, in seconds. `parse_moment_id` is the inverse."""
    return f"{video_id}-{round(start * 1000)}-{round(end * 1000)}"


def parse_moment_id(text: str) -> tuple[str, float, float]:
    """Return the video id and the span, in seconds, of the id of a moment.

    Raises:
        InvalidInputError: the text is not the id of a moment.
    """
    match = re.fullmatch(r"(.+)-([0-9]{1,12})-([0-9]{1,12})", text)
    if not match or int(match[2]) >= int(match[3]):
        raise InvalidInputError(f"'{text[:100]}' is not the id of a moment", fix="use an id from a search")
    return match[1], int(match[2]) / 1000, int(match[3]) / 1000


def find_peaks(segments: Iterable[Scored], *, score_ratio: float, max_seconds: float) -> Iterator[Peak]:
    """Group the segments of each video into spans that do not touch each other. Yield them lazily, best first.

    Args:
        segments: segments of any number of videos, in any order.
        score_ratio: a neighbour joins if its score is at least this ratio of the score of the peak.
        max_seconds: maximum length of a span of several segments.
    """
    by_video: dict[str, list[Scored]] = defaultdict(list)
    for segment in segments:
        by_video[segment.hit.video_id].append(segment)
    return merge(
        *(_peaks_of_video(candidates, score_ratio, max_seconds) for candidates in by_video.values()), key=_rank
    )


def best_of_each_video(peaks: Iterable[Peak]) -> Iterator[Peak]:
    """Yield the first peak of each video, in the given order."""
    video_ids: set[str] = set()
    for peak in peaks:
        if peak.best.hit.video_id not in video_ids:
            video_ids.add(peak.best.hit.video_id)
            yield peak


def select_peaks(peaks: Iterable[Peak], k: int, *, per_video: int) -> list[Peak]:
    """Return the best k peaks, with at most `per_video` per video while other videos have peaks.

    Args:
        peaks: peaks, best first.
        k: maximum number of peaks.
        per_video: limit per video. Peaks above it fill places that remain.
    """
    selected: list[Peak] = []
    surplus: list[Peak] = []
    counts: Counter[str] = Counter()
    for peak in peaks:
        counts[peak.best.hit.video_id] += 1
        (selected if counts[peak.best.hit.video_id] <= per_video else surplus).append(peak)
        if len(selected) == k:
            break
    return sorted([*selected, *surplus[: k - len(selected)]], key=_rank)


def _peaks_of_video(candidates: list[Scored], score_ratio: float, max_seconds: float) -> Iterator[Peak]:
    # Of two equal segments, the one that was cut around an anomaly is more exact.
    remaining = sorted(candidates, key=lambda s: (-s.score, s.hit.kind != "anomaly", s.hit.start))
    while remaining:
        peak = _grow(remaining, score_ratio, max_seconds)
        yield peak
        remaining = [s for s in remaining if not _touches(s.hit, peak.start, peak.end)]


def _grow(ranked: Sequence[Scored], score_ratio: float, max_seconds: float) -> Peak:
    """Extend the best segment by adjacent segments with a similar score."""
    best = ranked[0]
    start, end, strongest = best.hit.start, best.hit.end, best.hit
    # A peak with a negative z-score is not extended.
    min_score = score_ratio * best.score if best.score > 0 else math.inf
    joining = list(takewhile(lambda segment: segment.score >= min_score, ranked[1:]))
    has_grown = True
    while has_grown:
        has_grown = False
        for segment in joining:
            if not _touches(segment.hit, start, end):
                continue
            new_start, new_end = min(start, segment.hit.start), max(end, segment.hit.end)
            if (new_start, new_end) != (start, end) and new_end - new_start <= max_seconds:
                start, end, has_grown = new_start, new_end, True
                strongest = max(strongest, segment.hit, key=lambda hit: hit.anomaly)
                break
    return Peak(best, start, end, strongest, _best_per_space(ranked, start, end))


def _best_per_space(segments: Iterable[Scored], start: float, end: float) -> dict[str, float]:
    """Return the highest z-score per space in a span. Segments of several spaces can have different bounds."""
    best: dict[str, float] = {}
    for segment in segments:
        if segment.hit.start < end and segment.hit.end > start:
            for space, score in segment.matched.items():
                best[space] = max(score, best.get(space, score))
    return best


def _touches(hit: Hit, start: float, end: float) -> bool:
    return hit.start <= end + _MAX_GAP_SECONDS and hit.end >= start - _MAX_GAP_SECONDS


def _rank(peak: Peak) -> tuple[float, str, float]:
    return (-peak.best.score, peak.best.hit.video_id, peak.start)
