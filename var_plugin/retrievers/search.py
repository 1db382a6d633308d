"""The one search behind the retriever, the tools, the command line and the page: from a query to moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from var_plugin.encoders.base import Background, Space, Vectors
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.index.catalogue import Entry
from var_plugin.index.filters import clock_time
from var_plugin.index.video_index import Hit, VideoIndex
from var_plugin.retrievers.moments import Peak, Scored, choose, find_peaks
from var_plugin.settings import settings
from var_plugin.types import Filter, Moment, Query

# Segments fetched per moment wanted: neighbours of a peak and weaker moments of the same video come along.
_SEGMENTS_PER_MOMENT = 20
_FEWEST_SEGMENTS = 100
# Rounds of fetching from videos not seen yet.
_MOST_ROUNDS = 5


@dataclass(frozen=True)
class _Probe:
    """A query in one space, so scaled that `vector · v - offset` is the mean of the calibrated scores of its parts.

    Calibrated: deviations above the similarity to footage that has nothing to do with the query. Several parts of a
    query in one space (a text and a picture) add up to one vector, since the inner product is linear.
    """

    space: Space
    vector: Vectors
    offset: float


def search(
    index: VideoIndex, query: Query, *, k: int = 5, wanted: Filter | None = None, thumbnails: bool = False
) -> list[Moment]:
    """Return the k best moments, best first; fewer where the index holds fewer.

    Args:
        index: where to look.
        query: what to look for.
        k: so many moments, at least 1.
        wanted: what their segments must satisfy. Rows for whole videos are searched only when `kinds` asks for them.
        thumbnails: make a picture of each moment.

    Raises:
        InvalidInputError: k is below 1, or the filter cannot be expressed.
        UnsupportedModalityError: the suite of the index cannot embed a part of the query.
        StoreError: the store failed.
    """
    if k < 1:
        raise InvalidInputError(f"cannot return {k} moments", fix="ask for at least 1")
    wanted = wanted or Filter()
    if wanted.kinds is None:
        wanted = wanted.model_copy(update={"kinds": ("uniform", "anomaly")})
    peaks: list[Peak] = []
    probes = _probes(index.suite, query)
    limit = max(_FEWEST_SEGMENTS, k * _SEGMENTS_PER_MOMENT)
    for _ in range(_MOST_ROUNDS):
        seen = sorted({peak.best.hit.video_id for peak in peaks})
        segments, more = _fetch(index, probes, limit, wanted, seen)
        peaks += find_peaks(segments, share=settings().moment_share, longest=settings().moment_seconds)
        # One long video can fill the whole answer of the store: what other videos have is asked for next.
        if not more or len({peak.best.hit.video_id for peak in peaks}) >= k:
            break
    peaks.sort(key=lambda peak: -peak.best.score)
    return _describe(index, choose(peaks, k, per_video=settings().moments_per_video), thumbnails)


def _probes(suite: Suite, query: Query) -> list[_Probe]:
    """Embed the query once for each space that takes any part of it."""
    parts = query.parts()
    probes = []
    for name, encoders in suite.encoders.items():
        backgrounds = {
            modality: encoders.backgrounds.get(modality, Background(0.0, 1.0))
            for modality in parts
            if modality in encoders.space.modalities
        }
        if backgrounds:
            scaled = [
                suite.encode(modality, [parts[modality]], space=name)[0] / background.std
                for modality, background in backgrounds.items()
            ]
            offset = float(np.mean([background.mean / background.std for background in backgrounds.values()]))
            probes.append(_Probe(encoders.space, np.mean(scaled, axis=0), offset))
    unanswered = set(parts) - {modality for probe in probes for modality in probe.space.modalities}
    for modality in sorted(unanswered):
        suite.encoders_for(modality)  # raises, and says what the suite can do
        raise UnsupportedModalityError(f"no space took the {modality}")
    return probes


def _fetch(
    index: VideoIndex, probes: list[_Probe], limit: int, wanted: Filter, excluded: list[str]
) -> tuple[list[Scored], bool]:
    """Return the best segments over all probes, and whether some store gave as many as it was asked for."""
    matched: dict[tuple[str, str, float, float], tuple[Hit, dict[str, float]]] = {}
    more = False
    for probe in probes:
        hits = index.hits(probe.space.name, probe.vector, limit=limit, wanted=wanted, excluded=excluded)
        more = more or len(hits) >= limit
        for hit in hits:
            key = (hit.video_id, hit.kind, hit.start, hit.end)
            matched.setdefault(key, (hit, {}))[1][probe.space.name] = hit.similarity - probe.offset
    return [Scored(hit, scores) for hit, scores in matched.values()], more


def _describe(index: VideoIndex, peaks: list[Peak], thumbnails: bool) -> list[Moment]:
    entries = index.entries([peak.best.hit.video_id for peak in peaks])
    # A video deleted since the segments were fetched is no answer any more.
    return [
        _moment(index, entries[peak.best.hit.video_id], peak, thumbnails)
        for peak in peaks
        if peak.best.hit.video_id in entries
    ]


def _moment(index: VideoIndex, entry: Entry, peak: Peak, thumbnails: bool) -> Moment:
    best = peak.best.hit
    video_clock = clock_time(entry.sightings[-1].recorded_at)
    return Moment(
        id=f"{best.video_id}-{round(peak.start * 1000)}-{round(peak.end * 1000)}",
        video_id=best.video_id,
        uri=entry.sightings[-1].path,
        camera=best.camera,
        start=peak.start,
        end=peak.end,
        peak=best.key,
        score=peak.best.score,
        anomaly_score=peak.anomaly,
        matched=peak.best.matched,
        recorded_at=video_clock and video_clock + timedelta(seconds=peak.start),
        thumbnail=index.thumbnail(entry, best.key) if thumbnails else None,
    )
