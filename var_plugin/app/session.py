"""The state of one conversation. Each browser tab has its own session."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo

from var_plugin.api import Index
from var_plugin.app.conversation import ChatRequest, Context
from var_plugin.tools.base import committed_videos
from var_plugin.types import Moment, Video

_MAX_HISTORY = 50


@dataclass(frozen=True)
class Turn:
    """One message of the user and the answer of the page. All fields but `cards` are plain text."""

    message: str
    files: tuple[str, ...] = ()
    """Names of the attached files."""
    answer: str = ""
    cards: str = ""
    """The moments as HTML. Empty without moments."""


@dataclass(frozen=True)
class Session:
    """The current request, its moments, and the conversation so far."""

    request: ChatRequest = field(default_factory=ChatRequest)
    moments: tuple[Moment, ...] = ()
    """The moments of the last answer."""
    selected: Moment | None = None
    """The moment in the player. It may belong to an earlier answer."""
    turns: tuple[Turn, ...] = ()
    history: tuple[ChatRequest, ...] = ()
    """Earlier requests, latest last, for `undo`."""

    def with_results(self, request: ChatRequest, moments: tuple[Moment, ...], turn: Turn) -> Session:
        """Return the session after a request was answered. The first moment is selected."""
        history = self.history if request == self.request else (*self.history, self.request)[-_MAX_HISTORY:]
        first = moments[0] if moments else None
        return Session(request, moments, first, (*self.turns, turn)[-_MAX_HISTORY:], history)

    def with_reply(self, turn: Turn, answer: str) -> Session:
        """Return the session after an answer that changes no moments."""
        return replace(self, turns=(*self.turns, replace(turn, answer=answer))[-_MAX_HISTORY:])

    def undo(self) -> Session:
        """Return the session with the previous request; unchanged at the start."""
        return replace(self, request=self.history[-1], history=self.history[:-1]) if self.history else self

    def select(self, moment: Moment) -> Session:
        """Return the session with another moment in the player."""
        return replace(self, selected=moment)


def context_of(session: Session, index: Index, zone: tzinfo) -> Context:
    """Return the parser context for the next message."""
    videos = committed_videos(index)
    return Context(
        cameras=tuple(sorted({video.camera for video in videos})),
        now=datetime.now(zone),
        recorded_until=max(filter(None, map(_end_time, videos)), default=None),
        moments=session.moments,
        selected=session.selected,
    )


def _end_time(video: Video) -> datetime | None:
    return video.recorded_at and video.recorded_at + timedelta(seconds=video.duration)
