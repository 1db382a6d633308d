"""The search function of all interfaces (API, command line, page, tools, server): from a query to moments."""

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
from pydantic import ValidationError

from var_plugin.encoders.base import Space, Vectors, check_vectors
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import (
    FingerprintMismatchError,
    InvalidInputError,
    InvalidVectorError,
    TooLongMediaError,
    UnknownVideoError,
    UnsupportedModalityError,
    field_errors,
)
from var_plugin.escaping import printable
from var_plugin.index.index import Hit, VideoIndex
from var_plugin.media.limits import DEFAULT_LIMITS, Limits
from var_plugin.media.sandbox import client as sandbox
from var_plugin.retrievers.grades import grade_of_lead, with_leads
from var_plugin.retrievers.moments import (
    Peak,
    Scored,
    best_of_each_video,
    build_moments,
    check_kinds,
    find_peaks,
    list_events,
    most_anomalous,
    parse_moment_id,
    select_peaks,
)
from var_plugin.retrievers.text import quote_name
from var_plugin.types import (
    MAX_QUERY_LENGTH,
    MAX_WEIGHT,
    EmbeddedQuery,
    Filter,
    Grade,
    Modality,
    Moment,
    Query,
    Span,
)

GroupBy = Literal["moment", "video"]
"""What a search returns: all moments, or the best one of each video."""

Reranker = Callable[[Query, Sequence[Moment]], Sequence[Moment]]
"""Reorders the best candidates of a search. It may leave some out."""

MAX_QUERY_SECONDS = 3600.0
"""Maximum length of the audio or video of a query. A small file can declare days of audio."""

# Segments fetched per moment. Neighbours of a peak and weaker moments of the same video are among them.
_SEGMENTS_PER_MOMENT = 20
_MIN_SEGMENTS = 100
# Number of candidates for the reranker per moment.
_CANDIDATES_PER_MOMENT = 4
# Maximum number of rounds that fetch segments of further videos.
_MAX_ROUNDS = 5


@dataclass(frozen=True)
class _Probe:
    """A query in one space. `vector · v - offset` is the mean z-score of its parts for a segment vector v.

    The z-score is the number of standard deviations above the similarity of unrelated footage. Several parts of a query
    in one space (a text and an image) are combined into one vector, because the inner product is linear.
    """

    space: Space
    vector: Vectors
    offset: float
    weight: float
    confidence: Callable[[float], float] | None = None
    """Maps a z-score to a match probability; None if it is not calibrated for the modality."""


def make_query(**parts: Any) -> Query:
    """Return a query of the given parts: text, image, audio, video.

    Raises:
        InvalidInputError: there are none, or one is invalid.
    """
    try:
        return Query(**parts)
    except ValidationError as error:
        raise InvalidInputError(
            "nothing to search for",
            why=str(field_errors(error)[0]),
            fix="give a text, an image, audio or a video, or a filter to list unusual moments",
        ) from error


def embed_query(suite: Suite, query: Query) -> EmbeddedQuery:
    """Embed the only part of a query, a file, so that it can be searched later without the file.

    Raises:
        InvalidInputError: the query has several parts, or its part is not the path of a file.
        UnsupportedModalityError: the suite cannot embed it.
        MediaError: the file cannot be used.
    """
    parts = query.parts()
    ((modality, content),) = parts.items() if len(parts) == 1 else ((None, None),)
    if modality is None or not isinstance(content, Path):
        raise InvalidInputError("the query is not a single file", fix="give the path of one image, audio file or video")
    suite.encoders_for(modality)  # raises with the modalities of the suite
    spaces = {name: space for name, space in suite.spaces.items() if modality in space.modalities}
    limits = _query_limits(modality, content)
    return EmbeddedQuery(
        modality=modality,
        source=printable(content.name),
        vectors={name: suite.encode(modality, [content], space=name, limits=limits)[0].tolist() for name in spaces},
        fingerprints={name: space.fingerprint for name, space in spaces.items()},
    )


def check_embedded(suite: Suite, query: EmbeddedQuery) -> None:
    """Check that the vectors of a query belong to the spaces of a suite.

    Raises:
        FingerprintMismatchError: another suite embedded them.
        InvalidInputError: a vector is missing or invalid. Others may have written it.
    """
    spaces = {name: space for name, space in suite.spaces.items() if query.modality in space.modalities}
    if {name: space.fingerprint for name, space in spaces.items()} != dict(query.fingerprints):
        raise FingerprintMismatchError(
            f"the {query.modality} '{query.source}' was embedded by another suite than '{suite.name}', or by another "
            "version of it",
            fix="embed the file again",
        )
    for name, space in spaces.items():
        try:
            check_vectors(np.array([query.vectors.get(name, ())], np.float32), space)
        except InvalidVectorError as error:
            raise InvalidInputError(
                f"the vector of the {query.modality} '{query.source}' is invalid",
                why=f"it does not fit space '{name}'",
                fix="embed the file again",
            ) from error


def search(
    index: VideoIndex,
    query: Query | EmbeddedQuery,
    *,
    k: int = 5,
    filter: Filter | None = None,  # noqa: A002  (the usual name in vector stores)
    min_score: float | None = None,
    group_by: GroupBy = "moment",
    weights: Mapping[str, float] | None = None,
    rerank: Reranker | None = None,
    thumbnails: bool = False,
) -> list[Moment]:
    """Return up to k moments, best first.

    Args:
        index: index to search.
        query: query of one or more modalities, or one that is embedded already.
        k: maximum number of moments, at least 1.
        filter: conditions on the segments. Whole videos are searched only if `segment_kinds` contains "video".
        min_score: minimum score (z-score).
        group_by: "video" returns only the best moment of each video.
        weights: weight of the scores of each space; default 1, 0 leaves the space out.
        rerank: gets the query and several times k candidates, best first, and returns them in the final order. It is
            not used for an embedded query.
        thumbnails: create a thumbnail of each moment.

    Raises:
        InvalidInputError: k is below 1, the text is longer than `MAX_QUERY_LENGTH`, a weight is not a number from 0 to
            `MAX_WEIGHT`, `min_score` is not a number, or the filter cannot be expressed.
        UnsupportedModalityError: the suite of the index cannot embed a part of the query.
        FingerprintMismatchError: the query was embedded by another suite.
        TooLongMediaError: the audio or the video of the query is longer than `MAX_QUERY_SECONDS`.
        StoreError: the store failed.
    """
    if k < 1:
        raise InvalidInputError(f"cannot return {k} moments", fix="use a k of at least 1")
    if isinstance(query, Query) and query.text is not None and len(query.text) > MAX_QUERY_LENGTH:
        raise InvalidInputError(
            f"the text of the query has {len(query.text)} characters",
            why=f"the limit is {MAX_QUERY_LENGTH}",
            fix="describe the moment in a sentence",
        )
    if min_score is not None and math.isnan(min_score):
        raise InvalidInputError("min_score is not a number", fix="give a number, or omit it")
    check_kinds(index.suite, filter.kinds if filter else None)
    options = index.options
    index.refresh_snapshots()
    segment_filter = filter or Filter()
    if segment_filter.segment_kinds is None:
        segment_filter = segment_filter.model_copy(update={"segment_kinds": ("uniform", "anomaly")})
    probes = _probes(index, query, weights or {})
    candidates = k if rerank is None else k * _CANDIDATES_PER_MOMENT
    segments = _segments(index, probes, candidates, segment_filter)
    peaks = find_peaks(segments, score_ratio=options.moment_score_ratio, max_seconds=options.moment_seconds)
    if group_by == "video":
        peaks = best_of_each_video(peaks)
    peaks = with_leads(peaks)
    if min_score is not None:
        peaks = takewhile(lambda peak: peak.best.score >= min_score, peaks)
    confidences = {probe.space.name: probe.confidence for probe in probes if probe.confidence}
    selected = select_peaks(peaks, candidates, per_video=options.moments_per_video)
    moments = _moments(index, selected, confidences, thumbnails)
    return moments if rerank is None or isinstance(query, EmbeddedQuery) else list(rerank(query, moments))[:k]


def moment_by_id(index: VideoIndex, text: str) -> Moment:
    """Return the moment with an id. Its score is 0, because there is no query.

    Args:
        index: index that contains the moment.
        text: id of the moment. It may be invalid.

    Raises:
        InvalidInputError: the text is not the id of a moment, or the moment lies outside its video.
        UnknownVideoError: the index contains no such video.
    """
    video_id, start, end = parse_moment_id(text)
    entry = index.entries([video_id]).get(video_id)
    if entry is None:
        raise UnknownVideoError(f"the index contains no video of moment {quote_name(text)}", fix="search again")
    strongest = most_anomalous(index.segments(video_id), start, end)
    if strongest is None:
        raise InvalidInputError(f"moment {quote_name(text)} is not inside its video", fix="use an id from a search")
    video = entry.video()
    return Moment(
        id=text,
        video_id=video_id,
        uri=video.uri,
        camera=video.camera,
        start=start,
        end=end,
        peak=strongest.key,
        score=0.0,
        anomaly_score=strongest.anomaly,
        events=list_events(strongest),
        novelty=strongest.novelty,
        matched={},
        recorded_at=video.recorded_at and video.recorded_at + timedelta(seconds=start),
    )


def _segments(index: VideoIndex, probes: list[_Probe], min_videos: int, filter: Filter) -> list[Scored]:  # noqa: A002
    """Fetch segments until they come from at least `min_videos` videos, or no more exist."""
    segments: list[Scored] = []
    video_ids: set[str] = set()
    limit = max(_MIN_SEGMENTS, min_videos * _SEGMENTS_PER_MOMENT)
    for _ in range(_MAX_ROUNDS):
        page, has_more = _fetch(index, probes, limit, filter, sorted(video_ids), min_videos)
        segments += page
        video_ids.update(segment.hit.video_id for segment in page)
        # One long video can fill a whole result of the store, so the next round excludes these videos.
        if not has_more or len(video_ids) >= min_videos:
            break
    return segments


def _probes(index: VideoIndex, query: Query | EmbeddedQuery, weights: Mapping[str, float]) -> list[_Probe]:
    """Embed the query once per space that supports one of its parts and has a weight above 0."""
    suite = index.suite
    _check_weights(suite, weights)
    parts: dict[Modality, Any]
    if isinstance(query, EmbeddedQuery):
        check_embedded(suite, query)
        parts = {query.modality: query}
    else:
        parts = query.parts()
    probes = []
    for name, encoders in suite.encoders.items():
        statistics = {
            modality: index.calibration.statistics(encoders, modality)
            for modality in parts
            if modality in encoders.space.modalities
        }
        weight = float(weights.get(name, 1.0))
        if statistics and weight > 0:
            scaled = [
                _vector(suite, modality, parts[modality], name) / measured.std
                for modality, measured in statistics.items()
            ]
            offset = float(np.mean([measured.mean / measured.std for measured in statistics.values()]))
            confidence = _confidence(index, encoders, list(statistics))
            probes.append(_Probe(encoders.space, np.mean(scaled, axis=0), offset, weight, confidence))
    unsupported = set(parts) - {modality for probe in probes for modality in probe.space.modalities}
    for modality in sorted(unsupported):
        suite.encoders_for(modality)  # raises with the modalities of the suite
        raise UnsupportedModalityError(
            f"the {modality} of the query cannot be searched",
            why="the weights of all spaces that support it are 0",
            fix="give one of these spaces a weight above 0",
        )
    return probes


def _vector(suite: Suite, modality: Modality, part: Any, space: str) -> Vectors:
    """Return the (dim,) vector of a part of a query in a space."""
    if isinstance(part, EmbeddedQuery):
        return np.asarray(part.vectors[space], np.float32)
    vectors = suite.encode(modality, [part], space=space, limits=_query_limits(modality, part))
    return np.asarray(vectors[0])


def _query_limits(modality: Modality, part: Any) -> Limits:
    """Return the decoding limits for a part of a query.

    Raises:
        TooLongMediaError: its length is known and above `MAX_QUERY_SECONDS`.
    """
    if modality not in ("audio", "video"):
        return DEFAULT_LIMITS
    seconds = 0.0
    match part:
        case Span():  # the file may be longer
            seconds = part.end - part.start
        case (np.ndarray() as samples, int() | float() as rate) if rate > 0:
            seconds = samples.size / rate
        case str() | Path() if modality == "video":
            seconds = sandbox.probe(Path(part)).duration or 0.0
    if seconds > MAX_QUERY_SECONDS:
        raise TooLongMediaError(
            f"the {modality} of the query lasts {seconds:.0f} s",
            why=f"the limit is {MAX_QUERY_SECONDS:.0f} s",
            fix=f"cut the {modality} to the relevant part",
        )
    return DEFAULT_LIMITS if isinstance(part, Span) else replace(DEFAULT_LIMITS, duration=MAX_QUERY_SECONDS)


def _confidence(
    index: VideoIndex, encoders: SpaceEncoders, modalities: Sequence[Modality]
) -> Callable[[float], float] | None:
    """Return the function from z-score to match probability, or None. Only queries with one part are calibrated."""
    calibrator = encoders.calibrators.get(modalities[0]) if len(modalities) == 1 else None
    if calibrator is None:
        return None
    candidates = index.size()[encoders.space.name]
    return lambda score: calibrator(score, candidates)


def _check_weights(suite: Suite, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if name not in suite.spaces:
            raise InvalidInputError(
                f"a weight is given for the unknown space '{name}'",
                why=f"suite '{suite.name}' has the spaces {', '.join(suite.spaces)}",
                fix="use one of them",
            )
        if not (isinstance(weight, Real) and 0 <= weight <= MAX_WEIGHT):  # false for NaN
            raise InvalidInputError(
                f"the weight of '{name}' is {str(weight)[:20]}", fix=f"give a number from 0 to {MAX_WEIGHT:.0f}"
            )


def _fetch(
    index: VideoIndex,
    probes: list[_Probe],
    limit: int,
    filter: Filter,  # noqa: A002
    excluded: list[str],
    videos: int,
) -> tuple[list[Scored], bool]:
    """Return the best segments over all probes, and whether a space may have more."""
    matched: dict[tuple[str, str, float, float], tuple[Hit, dict[str, float]]] = {}
    has_more = False
    for probe in probes:
        hits = index.search_segments(
            probe.space.name, probe.vector, limit=limit, filter=filter, excluded=excluded, videos=videos
        )
        has_more = has_more or len(hits) >= limit
        for hit in hits:
            key = (hit.video_id, hit.kind, hit.start, hit.end)
            matched.setdefault(key, (hit, {}))[1][probe.space.name] = hit.similarity - probe.offset
    weights = {probe.space.name: probe.weight for probe in probes}
    return [Scored(hit, scores, weights) for hit, scores in matched.values()], has_more


def _moments(
    index: VideoIndex, peaks: list[Peak], confidences: Mapping[str, Callable[[float], float]], thumbnails: bool
) -> list[Moment]:
    """Return the moments of peaks. Only calibrated moments have a grade."""

    def best_space(peak: Peak) -> tuple[str, float]:
        return max(peak.matched.items(), key=lambda match: match[1])

    def confidence(peak: Peak) -> float | None:
        space, score = best_space(peak)
        return confidences[space](score) if space in confidences else None

    def grade(peak: Peak) -> Grade | None:
        return grade_of_lead(peak.lead) if best_space(peak)[0] in confidences else None

    return build_moments(index, peaks, confidence=confidence, grade=grade, thumbnails=thumbnails)
