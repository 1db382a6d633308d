"""The feed of unusual moments as data: which moments the tab Unusual lists, grouped by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from var_plugin.api import Index
from var_plugin.retrievers.text import NOVELTY_KIND, UNRECOGNISED_KIND, kinds_of
from var_plugin.tools.base import committed_videos
from var_plugin.types import Filter, Moment, Video

MIN_LISTED_ANOMALY = 0.3
"""Anomaly score from which a moment is listed, as on the command line and in the tool list_anomalies."""
MAX_MOMENTS = 500
"""Moments that a feed covers at most: the strongest ones."""
PAGE_SIZE = 24
"""Moments that the feed shows at first, and that "more" adds."""
"""The kind of a moment without a recognised event."""
UNKNOWN_DAY = "unknown"
"""Selects the footage without a recording time."""
# Maximum number of days that a feed offers, the newest ones.
_MAX_DAYS = 366


@dataclass(frozen=True)
class Selection:
    """The filters of the feed. An empty value stands for all."""

    camera: str = ""
    day: str = ""
    """A date in ISO form, or `UNKNOWN_DAY`."""
    last_day: str = ""
    """The last day of a range from `day`, in ISO form. Empty, or before `day`: only `day`."""
    kind: str = ""

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last selected day, or None for all days or an unknown day."""
        if self.day in ("", UNKNOWN_DAY):
            return None
        first = date.fromisoformat(self.day)
        return first, max(first, date.fromisoformat(self.last_day or self.day))


@dataclass(frozen=True)
class FeedDay:
    """The moments of one day, or of the footage without a recording time."""

    day: date | None
    count: int
    """All unusual moments of the day."""
    moments: tuple[Moment, ...]
    """Those that are shown, the newest first."""


@dataclass(frozen=True)
class Feed:
    """Unusual moments grouped by day, the newest day first, and the values to filter by."""

    days: tuple[FeedDay, ...]
    total: int
    is_complete: bool
    """False if there are weaker moments than the strongest `MAX_MOMENTS`."""
    kinds: Counter[str]
    """The number of moments of each kind, whatever kind is selected."""
    cameras: tuple[str, ...]
    recorded_days: tuple[date, ...]
    """The days with footage, the newest first."""
    undated_seconds: float
    """Length of the footage without a recording time, within the selected camera."""
    has_footage: bool

    @property
    def shown(self) -> int:
        """Number of moments that are shown."""
        return sum(len(group.moments) for group in self.days)


def load_feed(index: Index, selection: Selection, zone: tzinfo, limit: int = PAGE_SIZE) -> Feed:
    """Return the unusual moments of the whole index, within the filters.

    Args:
        index: index to read.
        selection: filters.
        zone: time zone of the days.
        limit: maximum number of moments that are shown.

    Raises:
        StoreError: the store failed.
    """
    videos = committed_videos(index)
    of_camera = [video for video in videos if selection.camera in ("", video.camera)]
    undated = [video for video in of_camera if video.recorded_at is None]
    conditions = _filter(selection, undated, zone)
    moments = _strongest(index, conditions)
    kinds = Counter(kind for moment in moments for kind in kinds_of(moment))
    is_complete = len(moments) < MAX_MOMENTS
    if selection.kind:
        if not is_complete and selection.kind not in (NOVELTY_KIND, UNRECOGNISED_KIND):
            moments = _strongest(index, conditions, selection.kind)
        moments = [moment for moment in moments if selection.kind in kinds_of(moment)]
    return Feed(
        days=_by_day(moments, zone, limit),
        total=len(moments),
        is_complete=is_complete,
        kinds=kinds,
        cameras=tuple(sorted({video.camera for video in videos})),
        recorded_days=_recorded_days(videos, zone),
        undated_seconds=sum(video.duration for video in undated),
        has_footage=bool(videos),
    )


def _strongest(index: Index, conditions: Filter | None, kind: str = "") -> list[Moment]:
    if conditions is None:
        return []
    kinds = (kind,) if kind else None
    return index.anomalies(
        MAX_MOMENTS, filter=conditions, kinds=kinds, min_score=MIN_LISTED_ANOMALY, order="time"
    )  # fmt: skip


def _filter(selection: Selection, undated: Sequence[Video], zone: tzinfo) -> Filter | None:
    """Return the filter of camera and day; None if no footage can satisfy it."""
    cameras = (selection.camera,) if selection.camera else None
    if selection.day == UNKNOWN_DAY:
        return Filter(cameras=cameras, video_ids=tuple(video.video_id for video in undated)) if undated else None
    if selection.days is None:
        return Filter(cameras=cameras)
    first, last = selection.days
    return Filter(
        cameras=cameras,
        after=datetime.combine(first, time(), zone),
        before=datetime.combine(last + timedelta(days=1), time(), zone),
    )


def _by_day(moments: Sequence[Moment], zone: tzinfo, limit: int) -> tuple[FeedDay, ...]:
    """Group moments, the newest first, by the day at their start."""
    days = [moment.recorded_at and moment.recorded_at.astimezone(zone).date() for moment in moments]
    counts = Counter(days)
    shown: dict[date | None, list[Moment]] = {}
    for day, moment in zip(days[:limit], moments[:limit], strict=True):
        shown.setdefault(day, []).append(moment)
    return tuple(FeedDay(day, counts[day], tuple(group)) for day, group in shown.items())


def _recorded_days(videos: Sequence[Video], zone: tzinfo) -> tuple[date, ...]:
    days: set[date] = set()
    for video in videos:
        if video.recorded_at is None:
            continue
        day = video.recorded_at.astimezone(zone).date()
        end = (video.recorded_at + timedelta(seconds=video.duration)).astimezone(zone).date()
        while day <= end:
            days.add(day)
            day += timedelta(days=1)
    return tuple(sorted(days, reverse=True)[:_MAX_DAYS])
