"""From scored segments to moments: anchored at a peak, grown while the score stays near it, the rest suppressed."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import takewhile

from var_plugin.config import settings
from var_plugin.errors import InvalidInputError
from var_plugin.index.index import Hit
from var_plugin.types import Moment

# Spans that are this near touch; times are stored in milliseconds.
_TOUCHING_SECONDS = 0.05


@dataclass(frozen=True)
class Scored:
    """A segment with its calibrated score per space."""

    hit: Hit
    matched: dict[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    """What a space's score counts; 1 where nothing is said."""

    score: float = field(init=False)
    """The best calibrated score, each counted by the weight of its space."""

    def __post_init__(self) -> None:
        scores = [self.weights.get(space, 1.0) * score for space, score in self.matched.items()]
        object.__setattr__(self, "score", max(scores))


@dataclass(frozen=True)
class Peak:
    """A span of one video around its best segment."""

    best: Scored
    start: float
    end: float
    anomaly: float
    """The highest anomaly score within."""
    matched: dict[str, float] = field(default_factory=dict)
    """Per space, the best calibrated score within."""


def is_below_threshold(moment: Moment) -> bool:
    """Tell whether a moment is too unsure to be called a match, where that is known."""
    return moment.confidence is not None and moment.confidence < settings().min_confidence


def most_anomalous(segments: Iterable[Hit], start: float, end: float) -> Hit | None:
    """Return the segment of the highest anomaly score among those that touch a span, in seconds, or None."""
    inside = [segment for segment in segments if segment.start < end and segment.end > start]
    return max(inside, key=lambda segment: segment.anomaly, default=None)


def moment_id(video_id: str, start: float, end: float) -> str:
    """Return the id of the span of a video, in seconds, by which it can be asked for again."""
    return f"{video_id}-{round(start * 1000)}-{round(end * 1000)}"


def parse_moment_id(text: str) -> tuple[str, float, float]:
    """Return the video and the span, in seconds, that a moment's id stands for.

    Raises:
        InvalidInputError: it is no such id.
    """
    found = re.fullmatch(r"(.+)-(\d{1,12})-(\d{1,12})", text)
    if not found or int(found[2]) >= int(found[3]):
        raise InvalidInputError(f"'{text[:100]}' is not the id of a moment", fix="take one from a search")
    return found[1], int(found[2]) / 1000, int(found[3]) / 1000


def find_peaks(segments: Iterable[Scored], *, share: float, longest: float) -> Iterator[Peak]:
    """Group the segments of each video into spans that do not touch each other, best first, as far as asked for.

    Args:
        segments: of any number of videos, in any order.
        share: a neighbour joins while its score is at least this share of the peak's.
        longest: seconds that a span of several segments may last.
    """
    by_video: dict[str, list[Scored]] = defaultdict(list)
    for segment in segments:
        by_video[segment.hit.video_id].append(segment)
    return merge(*(_peaks_of_one(candidates, share, longest) for candidates in by_video.values()), key=_rank)


def best_of_each_video(peaks: Iterable[Peak]) -> Iterator[Peak]:
    """Yield the first peak of each video, in the order given."""
    seen: set[str] = set()
    for peak in peaks:
        if peak.best.hit.video_id not in seen:
            seen.add(peak.best.hit.video_id)
            yield peak


def choose(peaks: Iterable[Peak], k: int, *, per_video: int) -> list[Peak]:
    """Return the best k of peaks that come best first: at most `per_video` of each video while others wait."""
    taken: list[Peak] = []
    passed_over: list[Peak] = []
    counts: Counter[str] = Counter()
    for peak in peaks:
        counts[peak.best.hit.video_id] += 1
        (taken if counts[peak.best.hit.video_id] <= per_video else passed_over).append(peak)
        if len(taken) == k:
            break
    return sorted([*taken, *passed_over[: k - len(taken)]], key=_rank)


def _peaks_of_one(candidates: list[Scored], share: float, longest: float) -> Iterator[Peak]:
    left = sorted(candidates, key=lambda s: (-s.score, s.hit.start))
    while left:
        peak = _grow(left, share, longest)
        yield peak
        left = [s for s in left if not _touches(s.hit, peak.start, peak.end)]


def _grow(ranked: Sequence[Scored], share: float, longest: float) -> Peak:
    best = ranked[0]
    start, end, anomaly = best.hit.start, best.hit.end, best.hit.anomaly
    # A peak below the background has no slope to follow.
    least = share * best.score if best.score > 0 else math.inf
    joining = list(takewhile(lambda segment: segment.score >= least, ranked[1:]))
    grown = True
    while grown:
        grown = False
        for segment in joining:
            if not _touches(segment.hit, start, end):
                continue
            new_start, new_end = min(start, segment.hit.start), max(end, segment.hit.end)
            if (new_start, new_end) != (start, end) and new_end - new_start <= longest:
                start, end, anomaly, grown = new_start, new_end, max(anomaly, segment.hit.anomaly), True
                break
    return Peak(best, start, end, anomaly, _best_per_space(ranked, start, end))


def _best_per_space(segments: Iterable[Scored], start: float, end: float) -> dict[str, float]:
    """Segments of several spaces share a span without having the same bounds."""
    best: dict[str, float] = {}
    for segment in segments:
        if segment.hit.start < end and segment.hit.end > start:
            for space, score in segment.matched.items():
                best[space] = max(score, best.get(space, score))
    return best


def _touches(hit: Hit, start: float, end: float) -> bool:
    return hit.start <= end + _TOUCHING_SECONDS and hit.end >= start - _TOUCHING_SECONDS


def _rank(peak: Peak) -> tuple[float, str, float]:
    return (-peak.best.score, peak.best.hit.video_id, peak.start)
