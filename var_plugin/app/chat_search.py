"""Answer a chat request: search, then the filters that need a second search or the audio track."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from var_plugin.api import Index
from var_plugin.app.audio_level import audio_level
from var_plugin.app.conversation.request import ChatRequest
from var_plugin.index.rows import Hit
from var_plugin.retrievers.moments import moment_id, parse_moment_id
from var_plugin.tools.base import committed_videos
from var_plugin.tools.timeline import SUMMARISE_TIMELINE, TimelineArguments
from var_plugin.types import Filter, Moment, Span, Video

MIN_PRESENCE_SCORE = 2.0
"""Score (z-score) from which an excluded thing counts as present."""
_MAX_EXCLUDED_MOMENTS = 200
_LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ChatAnswer:
    """The moments for a request, in display order."""

    moments: tuple[Moment, ...]
    is_browsing: bool = False
    """True if the request has no query: `moments` are the most unusual ones."""


def answer_request(index: Index, request: ChatRequest) -> ChatAnswer:
    """Return the moments for a request.

    Raises:
        VarPluginError: as `search`.
        UnknownVideoError, MediaNotFoundError: the moment of `request.like` no longer exists.
    """
    if not request.query_fields:
        return ChatAnswer(tuple(_most_unusual(index, request)), is_browsing=True)
    moments = index.search(
        **_query(index, request),
        k=request.limit,
        filter=_filter(request),
        group_by="video" if request.per_video else "moment",
        rerank=lambda _, moments: _apply_filters(index, request, moments),
    )
    return ChatAnswer(tuple(_sorted(moments, request)))


def _query(index: Index, request: ChatRequest) -> dict[str, Any]:
    video: Path | Span | None = Path(request.video) if request.video else None
    if request.like:
        video_id, start, end = parse_moment_id(request.like)
        video = Span(index.source(video_id), start, end)
    return {"text": request.text, "image": request.image, "audio": request.audio, "video": video}


def _filter(request: ChatRequest) -> Filter:
    return Filter(cameras=request.cameras, after=request.after, before=request.before, min_anomaly=request.min_anomaly)


def _apply_filters(index: Index, request: ChatRequest, moments: Sequence[Moment]) -> list[Moment]:
    """Apply the filters that need a second search or the audio track."""
    excluded = [parse_moment_id(request.like)] if request.like else []
    for words in request.without:
        videos = Filter(video_ids=tuple({moment.video_id for moment in moments}))
        present = index.search(words, k=_MAX_EXCLUDED_MOMENTS, filter=videos, min_score=MIN_PRESENCE_SCORE)
        excluded += [(moment.video_id, moment.start, moment.end) for moment in present]
    results = [moment for moment in moments if not any(_overlaps(moment, *span) for span in excluded)]
    if request.louder_than:
        results = [moment for moment in results if _level(index, moment.id) > _level(index, request.louder_than)]
    if request.quieter_than:
        results = [moment for moment in results if _level(index, moment.id) < _level(index, request.quieter_than)]
    return results


def _overlaps(moment: Moment, video_id: str, start: float, end: float) -> bool:
    return moment.video_id == video_id and moment.start < end and moment.end > start


def _level(index: Index, moment_id: str) -> float:
    video_id, start, end = parse_moment_id(moment_id)
    return audio_level(index.source(video_id), start, end)


def _sorted(moments: Sequence[Moment], request: ChatRequest) -> list[Moment]:
    """Sort moments by `request.order`. Moments without a clock time come last."""
    if request.order == "best":
        return list(moments)
    timed = sorted(
        (moment for moment in moments if moment.recorded_at),
        key=lambda moment: moment.recorded_at or _LATEST,
        reverse=request.order == "newest",
    )
    return [*timed, *(moment for moment in moments if not moment.recorded_at)]


def _most_unusual(index: Index, request: ChatRequest) -> list[Moment]:
    """Return the anomalies within the conditions, else the segment with the highest anomaly score per video."""
    arguments = TimelineArguments(after=request.after, before=request.before, bucket="minute")
    if request.cameras is not None:
        arguments = arguments.model_copy(update={"cameras": request.cameras})
    if request.min_anomaly is not None:
        arguments = arguments.model_copy(update={"min_anomaly": request.min_anomaly})
    rows = SUMMARISE_TIMELINE.run(index, arguments).data.model_dump()["rows"]
    ids = [row["moment_id"] for row in sorted(rows, key=lambda row: -row["highest"])[: request.limit]]
    if not ids and request.min_anomaly is None:
        ids = _highest_segments(index, request)
    return _sorted([index.moment(each) for each in ids], request)


def _highest_segments(index: Index, request: ChatRequest) -> list[str]:
    """Return the moment id of each video's segment with the highest anomaly score, highest first."""
    highest = []
    for video in committed_videos(index):
        if request.cameras is not None and video.camera not in request.cameras:
            continue
        segments = [segment for segment in index.segments(video.video_id) if _recorded_within(video, segment, request)]
        if segments:
            highest.append(max(segments, key=lambda segment: segment.anomaly))
    highest.sort(key=lambda segment: -segment.anomaly)
    return [moment_id(segment.video_id, segment.start, segment.end) for segment in highest[: request.limit]]


def _recorded_within(video: Video, segment: Hit, request: ChatRequest) -> bool:
    if video.recorded_at is None:
        return request.after is None and request.before is None
    start = video.recorded_at + timedelta(seconds=segment.start)
    end = video.recorded_at + timedelta(seconds=segment.end)
    return (request.after is None or end > request.after) and (request.before is None or start < request.before)
