"""One person's conversation: what was asked, what was shown, what is in view. Each browser tab has its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo

from var_plugin.api import Index
from var_plugin.app.conversation import Context, Request
from var_plugin.tools.base import committed_videos
from var_plugin.types import Moment, Video

_MOST_REMEMBERED = 50


@dataclass(frozen=True)
class Turn:
    """What a person said and what the page answered, as it stands in the chat."""

    said: str
    files: tuple[str, ...]
    told: str
    cards: str


@dataclass(frozen=True)
class Session:
    """Where a conversation stands."""

    request: Request = field(default_factory=Request)
    shown: tuple[Moment, ...] = ()
    in_view: Moment | None = None
    """What plays: the first of an answer, until another is chosen; it may be one of an earlier answer."""
    turns: tuple[Turn, ...] = ()
    earlier: tuple[Request, ...] = ()
    """The requests before, latest last: what "go back" returns to."""

    def answered(self, request: Request, moments: tuple[Moment, ...], turn: Turn) -> Session:
        """Return the conversation after an answer."""
        earlier = self.earlier if request == self.request else (*self.earlier, self.request)[-_MOST_REMEMBERED:]
        first = moments[0] if moments else None
        return Session(request, moments, first, (*self.turns, turn)[-_MOST_REMEMBERED:], earlier)

    def told(self, said: Turn, answer: str) -> Session:
        """Return the conversation after something was said that changes no moments."""
        return replace(self, turns=(*self.turns, replace(said, told=answer))[-_MOST_REMEMBERED:])

    def back(self) -> Session:
        """Return the conversation before the last request; unchanged where there was none."""
        return replace(self, request=self.earlier[-1], earlier=self.earlier[:-1]) if self.earlier else self

    def viewing(self, moment: Moment) -> Session:
        """Return the conversation with another moment in view."""
        return replace(self, in_view=moment)


def context_of(session: Session, index: Index, zone: tzinfo) -> Context:
    """Return what the next message is understood by."""
    videos = committed_videos(index)
    return Context(
        cameras=tuple(sorted({video.camera for video in videos})),
        now=datetime.now(zone),
        recorded_until=max(filter(None, map(_ends_at, videos)), default=None),
        shown=session.shown,
        viewed=session.in_view,
    )


def _ends_at(video: Video) -> datetime | None:
    return video.recorded_at and video.recorded_at + timedelta(seconds=video.duration)
