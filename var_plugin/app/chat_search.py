"""Answer a chat request: search, then the filters that need a second search or the audio track."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from var_plugin.api import Index
from var_plugin.app.audio_level import audio_level
from var_plugin.app.conversation.request import ChatRequest
from var_plugin.app.unusual import MAX_MOMENTS, MIN_LISTED_ANOMALY
from var_plugin.retrievers.moments import parse_moment_id
from var_plugin.retrievers.text import kinds_of
from var_plugin.tools.base import committed_videos
from var_plugin.types import Filter, Moment, Span

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
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Without a query: how many unusual moments there are of each kind. Empty if no moment is unusual."""
    undated_seconds: float = 0.0
    """Without a query: length of the footage without a recording time."""


def answer_request(index: Index, request: ChatRequest) -> ChatAnswer:
    """Return the moments for a request.

    Raises:
        VarPluginError: as `search`.
        UnknownVideoError, MediaNotFoundError: the moment of `request.like` no longer exists.
    """
    if not request.query_fields:
        return _most_unusual(index, request)
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


def _most_unusual(index: Index, request: ChatRequest) -> ChatAnswer:
    """Return unusual moments by kind; if none reaches the minimum score, those with the highest score.

    The kind with the strongest moment comes first. A limit below the number of moments keeps the strongest moments of
    each kind.
    """
    candidates = index.anomalies(
        MAX_MOMENTS, filter=_filter(request), group_by="video" if request.per_video else "moment"
    )  # fmt: skip
    threshold = MIN_LISTED_ANOMALY if request.min_anomaly is None else request.min_anomaly
    unusual = [moment for moment in candidates if moment.anomaly_score >= threshold]
    by_kind: dict[str, list[Moment]] = {}
    for moment in unusual or candidates:
        by_kind.setdefault(kinds_of(moment)[0], []).append(moment)
    ranked = sorted(
        (rank, -moment.anomaly_score, kind) for kind, group in by_kind.items() for rank, moment in enumerate(group)
    )
    listed = Counter(kind for _, _, kind in ranked[: request.limit])
    moments = [moment for kind, group in by_kind.items() for moment in group[: listed[kind]]]
    return ChatAnswer(
        tuple(_sorted(moments, request)),
        is_browsing=True,
        kinds={kind: len(group) for kind, group in by_kind.items()} if unusual else {},
        undated_seconds=_undated_seconds(index, request),
    )


def _undated_seconds(index: Index, request: ChatRequest) -> float:
    return sum(
        video.duration
        for video in committed_videos(index)
        if video.recorded_at is None and (request.cameras is None or video.camera in request.cameras)
    )
