"""List the most anomalous moments of an index, without a query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from var_plugin.errors import InvalidInputError
from var_plugin.index.index import VideoIndex
from var_plugin.retrievers.moments import (
    Scored,
    best_of_each_video,
    build_moments,
    check_kinds,
    find_peaks,
    select_peaks,
)
from var_plugin.retrievers.search import GroupBy
from var_plugin.types import Filter, Moment

Order = Literal["score", "time"]

# Number of segments to fetch per moment, since neighbours are joined, and in total.
_SEGMENTS_PER_MOMENT = 8
_MIN_SEGMENTS = 200
_MAX_ROUNDS = 8
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def anomalies(
    index: VideoIndex,
    *,
    k: int = 20,
    filter: Filter | None = None,  # noqa: A002  (the usual name in vector stores)
    kinds: Sequence[str] | None = None,
    min_score: float | None = None,
    group_by: GroupBy = "moment",
    order: Order = "score",
    thumbnails: bool = False,
) -> list[Moment]:
    """Return the k most anomalous moments.

    Args:
        index: index to read.
        k: maximum number of moments, at least 1.
        filter: conditions on the segments.
        kinds: kinds of events, as in `Filter.kinds`. They replace those of the filter.
        min_score: minimum anomaly score. It replaces `Filter.min_anomaly`.
        group_by: "video" returns only the strongest moment of each video.
        order: "score" returns the strongest moment first; "time" returns the same moments, the newest first. Moments
            with an unknown clock time come last.
        thumbnails: create a thumbnail of each moment.

    Returns:
        Moments whose `score` is their anomaly score.

    Raises:
        InvalidInputError: k is below 1, or the filter cannot be expressed.
        StoreError: the store failed.
    """
    if k < 1:
        raise InvalidInputError(f"cannot return {k} moments", fix="use a k of at least 1")
    changes = {"kinds": None if kinds is None else tuple(kinds), "min_anomaly": min_score}
    conditions = (filter or Filter()).model_copy(
        update={name: value for name, value in changes.items() if value is not None}
    )
    check_kinds(index.suite, conditions.kinds)
    if conditions.segment_kinds is None:
        conditions = conditions.model_copy(update={"segment_kinds": ("uniform", "anomaly")})
    index.refresh_snapshots()
    peaks = find_peaks(
        _segments(index, k, conditions),
        score_ratio=index.options.moment_score_ratio,
        max_seconds=index.options.moment_seconds,
    )
    if group_by == "video":
        peaks = best_of_each_video(peaks)
    moments = build_moments(index, select_peaks(peaks, k, per_video=k), thumbnails=thumbnails)
    moments = [moment.model_copy(update={"matched": {}}) for moment in moments]
    return sorted(moments, key=_newest_first) if order == "time" else moments


def _segments(index: VideoIndex, k: int, filter: Filter) -> list[Scored]:  # noqa: A002
    """Fetch the strongest segments of all spaces, in more rounds while one video fills a whole round."""
    segments: list[Scored] = []
    limit = max(_MIN_SEGMENTS, k * _SEGMENTS_PER_MOMENT)
    for space in index.suite.spaces:
        excluded: set[str] = set()
        for _ in range(_MAX_ROUNDS):
            page = index.top_segments(space, limit=limit, filter=filter, excluded=sorted(excluded))
            segments += [Scored(hit, {space: hit.anomaly}) for hit in page]
            excluded.update(hit.video_id for hit in page)
            if len(page) < limit or len(excluded) >= k:
                break
    return segments


def _newest_first(moment: Moment) -> tuple[bool, float, str, float]:
    recorded = moment.recorded_at
    return recorded is None, -recorded.timestamp() if recorded else 0.0, moment.camera, moment.start
