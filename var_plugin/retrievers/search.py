"""The one search behind the retriever, the tools, the command line and the page: from a query to moments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np

from var_plugin.config import settings
from var_plugin.encoders.base import Space, Vectors
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import InvalidInputError, TooLongMediaError, UnsupportedModalityError
from var_plugin.index.catalog import Entry
from var_plugin.index.filters import clock_time
from var_plugin.index.index import Hit, VideoIndex
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox import client as sandbox
from var_plugin.retrievers.moments import Peak, Scored, best_of_each_video, choose, find_peaks, moment_id
from var_plugin.types import MAX_QUERY_LENGTH, MAX_WEIGHT, Filter, Modality, Moment, Query, Span

GroupBy = Literal["moment", "video"]
"""What an answer lists: every moment, or of each video the best one."""

Reranker = Callable[[Query, Sequence[Moment]], Sequence[Moment]]
"""Puts the best candidates of a search into an order of its own; it may leave some out."""

MAX_QUERY_SECONDS = 3600.0
"""Length of the audio or the video of a query. A small file can declare days of audio."""

# Segments fetched per moment wanted: neighbours of a peak and weaker moments of the same video come along.
_SEGMENTS_PER_MOMENT = 20
_FEWEST_SEGMENTS = 100
# A reranker sees so many candidates for each moment wanted.
_CANDIDATES_PER_MOMENT = 4
# Rounds of fetching from videos not seen yet.
_MOST_ROUNDS = 5


@dataclass(frozen=True)
class _Probe:
    """A query in one space, so scaled that `vector · v - offset` is the mean of the calibrated scores of its parts.

    Calibrated: deviations above the similarity to footage that has nothing to do with the query. Several parts of a
    query in one space (a text and an image) add up to one vector, since the inner product is linear.
    """

    space: Space
    vector: Vectors
    offset: float
    weight: float
    confidence: Callable[[float], float] | None = None
    """From a calibrated score to a probability, where there are labelled data for the query's modality."""


def search(
    index: VideoIndex,
    query: Query,
    *,
    k: int = 5,
    filter: Filter | None = None,  # noqa: A002  (the word users of vector stores know)
    min_score: float | None = None,
    group_by: GroupBy = "moment",
    weights: Mapping[str, float] | None = None,
    rerank: Reranker | None = None,
    thumbnails: bool = False,
) -> list[Moment]:
    """Return the k best moments, best first; fewer where the index holds fewer.

    Args:
        index: where to look.
        query: what to look for.
        k: so many moments, at least 1.
        filter: what their segments must satisfy. Rows for whole videos are searched only when `kinds` asks for them.
        min_score: leave out moments below it, in deviations above unrelated footage.
        group_by: "video" returns the best moment of each video only.
        weights: per space, what its scores count against those of the others; 1 where nothing is said, 0 leaves the
            space out.
        rerank: gets the query and several times k candidates, best first; its order is the answer's.
        thumbnails: make an image of each moment.

    Raises:
        InvalidInputError: k is below 1, the text is longer than `MAX_QUERY_LENGTH`, a weight is not a number from 0 to
            `MAX_WEIGHT`, `min_score` is not a number, or the filter cannot be expressed.
        UnsupportedModalityError: the suite of the index cannot embed a part of the query.
        TooLongMediaError: the audio or the video of the query is longer than `MAX_QUERY_SECONDS`.
        StoreError: the store failed.
    """
    if k < 1:
        raise InvalidInputError(f"cannot return {k} moments", fix="ask for at least 1")
    if query.text is not None and len(query.text) > MAX_QUERY_LENGTH:
        raise InvalidInputError(
            f"the text of the query has {len(query.text)} characters",
            why=f"the limit is {MAX_QUERY_LENGTH}",
            fix="describe the moment in a sentence",
        )
    if min_score is not None and math.isnan(min_score):
        raise InvalidInputError("min_score is not a number", fix="give a number, or leave it out")
    index.refresh_snapshots()
    segment_filter = filter or Filter()
    if segment_filter.kinds is None:
        segment_filter = segment_filter.model_copy(update={"kinds": ("uniform", "anomaly")})
    probes = _probes(index, query, weights or {})
    candidates = k if rerank is None else k * _CANDIDATES_PER_MOMENT
    segments = _segments(index, probes, candidates, segment_filter)
    peaks = find_peaks(segments, share=settings().moment_score_ratio, longest=settings().moment_seconds)
    if group_by == "video":
        peaks = best_of_each_video(peaks)
    if min_score is not None:
        peaks = takewhile(lambda peak: peak.best.score >= min_score, peaks)
    sure = {probe.space.name: probe.confidence for probe in probes if probe.confidence}
    found = _describe(index, choose(peaks, candidates, per_video=settings().moments_per_video), sure, thumbnails)
    return found if rerank is None else list(rerank(query, found))[:k]


def _segments(index: VideoIndex, probes: list[_Probe], wanted_videos: int, wanted: Filter) -> list[Scored]:
    """Fetch segments until so many videos were met."""
    segments: list[Scored] = []
    seen: set[str] = set()
    limit = max(_FEWEST_SEGMENTS, wanted_videos * _SEGMENTS_PER_MOMENT)
    for _ in range(_MOST_ROUNDS):
        found, more = _fetch(index, probes, limit, wanted, sorted(seen), wanted_videos)
        segments += found
        seen.update(segment.hit.video_id for segment in found)
        # One long video can fill the whole answer of the store: what other videos have is asked for next.
        if not more or len(seen) >= wanted_videos:
            break
    return segments


def _probes(index: VideoIndex, query: Query, weights: Mapping[str, float]) -> list[_Probe]:
    """Embed the query once for each space that takes any part of it and counts."""
    suite = index.suite
    _check_weights(suite, weights)
    parts = query.parts()
    probes = []
    for name, encoders in suite.encoders.items():
        backgrounds = {
            modality: index.calibration.background(encoders, modality)
            for modality in parts
            if modality in encoders.space.modalities
        }
        weight = float(weights.get(name, 1.0))
        if backgrounds and weight > 0:
            limits = {modality: _query_limits(modality, parts[modality]) for modality in backgrounds}
            scaled = [
                suite.encode(modality, [parts[modality]], space=name, limits=limits[modality])[0] / background.std
                for modality, background in backgrounds.items()
            ]
            offset = float(np.mean([background.mean / background.std for background in backgrounds.values()]))
            sure = _confidence(index, encoders, list(backgrounds))
            probes.append(_Probe(encoders.space, np.mean(scaled, axis=0), offset, weight, sure))
    unanswered = set(parts) - {modality for probe in probes for modality in probe.space.modalities}
    for modality in sorted(unanswered):
        suite.encoders_for(modality)  # raises, and says what the suite can do
        raise UnsupportedModalityError(
            f"no space took the {modality}", why="the weights leave out every space that does", fix="raise a weight"
        )
    return probes


def _query_limits(modality: Modality, part: Any) -> Limits:
    """Return the limits of decoding a part of a query.

    Raises:
        TooLongMediaError: its length is known, and beyond the limit.
    """
    if modality not in ("audio", "video"):
        return DEFAULT_LIMITS
    seconds = 0.0
    match part:
        case Span():  # of a file that may be longer
            seconds = part.end - part.start
        case (np.ndarray() as samples, int() | float() as rate) if rate > 0:
            seconds = samples.size / rate
        case str() | Path() if modality == "video":
            seconds = sandbox.probe(Path(part)).duration or 0.0
    if seconds > MAX_QUERY_SECONDS:
        raise TooLongMediaError(
            f"the {modality} of the query lasts {seconds:.0f} s",
            why=f"the limit is {MAX_QUERY_SECONDS:.0f} s",
            fix=f"cut the {modality} to the part to search for",
        )
    return DEFAULT_LIMITS if isinstance(part, Span) else replace(DEFAULT_LIMITS, duration=MAX_QUERY_SECONDS)


def _confidence(
    index: VideoIndex, encoders: SpaceEncoders, modalities: Sequence[Modality]
) -> Callable[[float], float] | None:
    """Return how sure a score makes one in this index; only queries of one part were calibrated."""
    found = encoders.calibrators.get(modalities[0]) if len(modalities) == 1 else None
    if found is None:
        return None
    candidates = index.size()[encoders.space.name]
    return lambda score: found(score, candidates)


def _check_weights(suite: Suite, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if name not in suite.spaces:
            raise InvalidInputError(
                f"a weight for the space '{name}'",
                why=f"suite '{suite.name}' has the spaces {', '.join(suite.spaces)}",
                fix="name one of them",
            )
        if not (isinstance(weight, Real) and 0 <= weight <= MAX_WEIGHT):  # false for NaN
            raise InvalidInputError(
                f"the weight of '{name}' is {str(weight)[:20]}", fix=f"give a number from 0 to {MAX_WEIGHT:.0f}"
            )


def _fetch(
    index: VideoIndex, probes: list[_Probe], limit: int, wanted: Filter, excluded: list[str], videos: int
) -> tuple[list[Scored], bool]:
    """Return the best segments over all probes, and whether some store gave as many as it was asked for."""
    matched: dict[tuple[str, str, float, float], tuple[Hit, dict[str, float]]] = {}
    more = False
    for probe in probes:
        hits = index.search_segments(
            probe.space.name, probe.vector, limit=limit, filter=wanted, excluded=excluded, videos=videos
        )
        more = more or len(hits) >= limit
        for hit in hits:
            key = (hit.video_id, hit.kind, hit.start, hit.end)
            matched.setdefault(key, (hit, {}))[1][probe.space.name] = hit.similarity - probe.offset
    weights = {probe.space.name: probe.weight for probe in probes}
    return [Scored(hit, scores, weights) for hit, scores in matched.values()], more


def _describe(
    index: VideoIndex, peaks: list[Peak], sure: Mapping[str, Callable[[float], float]], thumbnails: bool
) -> list[Moment]:
    entries = index.entries([peak.best.hit.video_id for peak in peaks])
    # A video deleted since the segments were fetched is no answer any more.
    return [
        _moment(index, entries[peak.best.hit.video_id], peak, sure, thumbnails)
        for peak in peaks
        if peak.best.hit.video_id in entries
    ]


def _moment(
    index: VideoIndex, entry: Entry, peak: Peak, sure: Mapping[str, Callable[[float], float]], thumbnails: bool
) -> Moment:
    best = peak.best.hit
    # What is found by its sound is no less likely for looking like nothing of the kind.
    found_in, score = max(peak.matched.items(), key=lambda match: match[1])
    video_clock = clock_time(entry.sightings[-1].recorded_at)
    return Moment(
        id=moment_id(best.video_id, peak.start, peak.end),
        video_id=best.video_id,
        uri=entry.sightings[-1].path,
        camera=best.camera,
        start=peak.start,
        end=peak.end,
        peak=best.key,
        score=peak.best.score,
        confidence=sure[found_in](score) if found_in in sure else None,
        anomaly_score=peak.anomaly,
        matched=peak.matched,
        recorded_at=video_clock and video_clock + timedelta(seconds=peak.start),
        thumbnail=index.thumbnail(entry, best.key) if thumbnails else None,
    )
