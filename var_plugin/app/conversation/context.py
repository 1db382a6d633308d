"""What a message is understood by: the footage there is, what was shown last, and the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from var_plugin.types import Moment


@dataclass(frozen=True)
class Context:
    """What the words of a message can mean at this point of a conversation."""

    cameras: tuple[str, ...]
    now: datetime
    """With the time zone in which clock times are meant."""
    recorded_until: datetime | None = None
    """End of the latest footage whose clock time is known; None where none is."""
    shown: Sequence[Moment] = ()
    """The moments of the last answer, in their order."""
    viewed: Moment | None = None
    """What is in view; None: the first one shown."""

    @property
    def zone(self) -> tzinfo | None:
        """The time zone in which clock times are meant."""
        return self.now.tzinfo

    @property
    def moment(self) -> Moment | None:
        """The moment in view: what "that" and "this" mean."""
        return self.viewed or (self.shown[0] if self.shown else None)

    @property
    def chosen(self) -> int:
        """Where the moment in view stands among those shown; the first place where it is none of them."""
        return self.shown.index(self.viewed) if self.viewed in self.shown else 0

    @property
    def moment_at(self) -> tuple[datetime, datetime] | None:
        """When the moment in view began and ended, by the clock."""
        return clock_span(self.moment, self.zone) if self.moment else None

    @property
    def latest(self) -> datetime:
        """What "Friday" without a date is counted from: the end of the footage, or else now."""
        return (self.recorded_until or self.now).astimezone(self.zone)


def clock_span(moment: Moment, zone: tzinfo | None) -> tuple[datetime, datetime] | None:
    """Return when a moment began and ended by the clock; None where that is unknown."""
    if moment.recorded_at is None:
        return None
    begins = moment.recorded_at.astimezone(zone)
    return begins, begins + timedelta(seconds=moment.end - moment.start)
