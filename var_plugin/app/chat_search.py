"""From a request to an answer: through the one search, then the conditions that no vector knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from var_plugin.api import Index
from var_plugin.app.audio_level import loudness
from var_plugin.app.conversation.request import Request
from var_plugin.errors import InvalidInputError
from var_plugin.index.rows import Hit
from var_plugin.retrievers.moments import moment_id, parse_moment_id
from var_plugin.retrievers.search import search
from var_plugin.tools.base import committed_videos
from var_plugin.tools.timeline import SUMMARISE_TIMELINE, TimelineArguments
from var_plugin.types import Filter, Moment, Query, Span, Video

# From so many deviations above unrelated footage on, what was to be left out counts as there.
PRESENT_FROM = 2.0
_SEEN_FOR_ABSENCE = 200
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """The moments for a request, in the order in which they are shown."""

    moments: tuple[Moment, ...]
    browsed: bool = False
    """True where nothing was described: these are the most unusual moments within the conditions."""


def answer(index: Index, request: Request) -> Answer:
    """Answer a request.

    Raises:
        VarPluginError: as `search`; UnknownVideoError and MediaNotFoundError where the moment to resemble is gone.
    """
    if not request.parts:
        return Answer(tuple(_unusual(index, request)), browsed=True)
    found = search(
        index,
        _query(index, request),
        k=request.limit,
        filter=_filter(request),
        group_by="video" if request.per_video else "moment",
        rerank=lambda _, moments: _satisfying(index, request, moments),
    )
    return Answer(tuple(_ordered(found, request)))


def moment_of(index: Index, moment_id: str) -> Moment:
    """Return a moment by its id alone: nothing was asked, so its score is 0.

    Raises:
        InvalidInputError, UnknownVideoError: it is no moment of the index.
    """
    video_id, start, end = parse_moment_id(moment_id)
    inside = [segment for segment in index.segments(video_id) if segment.start < end and segment.end > start]
    if not inside:
        raise InvalidInputError("that part lies outside its video", fix="search again")
    strongest = max(inside, key=lambda segment: segment.anomaly)
    video = index.entries([video_id])[video_id].video()
    return Moment(
        id=moment_id,
        video_id=video_id,
        uri=video.uri,
        camera=video.camera,
        start=start,
        end=end,
        peak=strongest.key,
        score=0.0,
        anomaly_score=strongest.anomaly,
        matched={},
        recorded_at=video.recorded_at and video.recorded_at + timedelta(seconds=start),
    )


def _query(index: Index, request: Request) -> Query:
    clip: Path | Span | None = Path(request.video) if request.video else None
    if request.like:
        video_id, start, end = parse_moment_id(request.like)
        clip = Span(index.source(video_id), start, end)
    return Query(text=request.text, image=request.image, audio=request.audio, video=clip)


def _filter(request: Request) -> Filter:
    return Filter(cameras=request.cameras, after=request.after, before=request.before, min_anomaly=request.min_anomaly)


def _satisfying(index: Index, request: Request, moments: Sequence[Moment]) -> list[Moment]:
    """Return the candidates that satisfy what only can be told of each moment."""
    unwanted = [parse_moment_id(request.like)] if request.like else []
    for words in request.without:
        wanted = Filter(video_ids=tuple({moment.video_id for moment in moments}))
        there = search(index, Query(text=words), k=_SEEN_FOR_ABSENCE, filter=wanted, min_score=PRESENT_FROM)
        unwanted += [(moment.video_id, moment.start, moment.end) for moment in there]
    kept = [moment for moment in moments if not any(_overlaps(moment, *span) for span in unwanted)]
    if request.louder_than:
        kept = [moment for moment in kept if _level(index, moment.id) > _level(index, request.louder_than)]
    if request.quieter_than:
        kept = [moment for moment in kept if _level(index, moment.id) < _level(index, request.quieter_than)]
    return kept


def _overlaps(moment: Moment, video_id: str, start: float, end: float) -> bool:
    return moment.video_id == video_id and moment.start < end and moment.end > start


def _level(index: Index, moment_id: str) -> float:
    video_id, start, end = parse_moment_id(moment_id)
    return loudness(index.source(video_id), start, end)


def _ordered(moments: Sequence[Moment], request: Request) -> list[Moment]:
    if request.order == "best":
        return list(moments)
    known = sorted(
        (moment for moment in moments if moment.recorded_at),
        key=lambda moment: moment.recorded_at or _LAST,
        reverse=request.order == "newest",
    )
    return [*known, *(moment for moment in moments if not moment.recorded_at)]


def _unusual(index: Index, request: Request) -> list[Moment]:
    """Return the anomalies within the conditions, or else the segments nearest to one: the highest score per video."""
    asked = TimelineArguments(after=request.after, before=request.before, bucket="minute")
    if request.cameras is not None:
        asked = asked.model_copy(update={"cameras": request.cameras})
    if request.min_anomaly is not None:
        asked = asked.model_copy(update={"min_anomaly": request.min_anomaly})
    rows = SUMMARISE_TIMELINE.run(index, asked).data.model_dump()["rows"]
    ids = [row["moment_id"] for row in sorted(rows, key=lambda row: -row["highest"])[: request.limit]]
    if not ids and request.min_anomaly is None:
        ids = _highest_segments(index, request)
    return _ordered([moment_of(index, each) for each in ids], request)


def _highest_segments(index: Index, request: Request) -> list[str]:
    """Return the moment ids of the segment with the highest anomaly score of each video, the highest first."""
    highest = []
    for video in committed_videos(index):
        if request.cameras is not None and video.camera not in request.cameras:
            continue
        segments = [segment for segment in index.segments(video.video_id) if _recorded_within(video, segment, request)]
        if segments:
            highest.append(max(segments, key=lambda segment: segment.anomaly))
    highest.sort(key=lambda segment: -segment.anomaly)
    return [moment_id(segment.video_id, segment.start, segment.end) for segment in highest[: request.limit]]


def _recorded_within(video: Video, segment: Hit, request: Request) -> bool:
    if video.recorded_at is None:
        return request.after is None and request.before is None
    begins = video.recorded_at + timedelta(seconds=segment.start)
    ends = video.recorded_at + timedelta(seconds=segment.end)
    return (request.after is None or ends > request.after) and (request.before is None or begins < request.before)
