"""The context of a message: cameras, current time, and the moments of the last answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from var_plugin.types import Moment


@dataclass(frozen=True)
class Context:
    """The inputs of the parser besides the message and the previous request."""

    cameras: tuple[str, ...]
    now: datetime
    """The current time. Clock times in messages are read in its time zone."""
    recorded_until: datetime | None = None
    """End of the latest video with a known recording time, or None."""
    moments: Sequence[Moment] = ()
    """The moments of the last answer, in order."""
    selected: Moment | None = None
    """The moment in the player; None: the first of `moments`."""

    @property
    def zone(self) -> tzinfo | None:
        """The time zone of clock times in messages."""
        return self.now.tzinfo

    @property
    def moment(self) -> Moment | None:
        """The moment that "this" and "that" refer to."""
        return self.selected or (self.moments[0] if self.moments else None)

    @property
    def position(self) -> int:
        """Position of the selected moment in `moments`; 0 if it is not one of them."""
        return self.moments.index(self.selected) if self.selected in self.moments else 0

    @property
    def moment_span(self) -> tuple[datetime, datetime] | None:
        """Clock times of the start and the end of the selected moment."""
        return clock_span(self.moment, self.zone) if self.moment else None

    @property
    def reference_time(self) -> datetime:
        """The time from which days without a date are counted: the end of the footage, else the current time."""
        return (self.recorded_until or self.now).astimezone(self.zone)


def clock_span(moment: Moment, zone: tzinfo | None) -> tuple[datetime, datetime] | None:
    """Return the clock times of a moment's start and end; None if they are unknown."""
    if moment.recorded_at is None:
        return None
    start = moment.recorded_at.astimezone(zone)
    return start, start + timedelta(seconds=moment.end - moment.start)
