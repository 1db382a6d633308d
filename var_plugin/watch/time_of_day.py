"""A daily span of clock time, in which an alert is raised."""

from __future__ import annotations

from datetime import datetime
from datetime import time as clock_time
from typing import Annotated

from pydantic import AfterValidator, ValidationError

from var_plugin.config import Zone
from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.types import Value


def _check_local(time: clock_time) -> clock_time:
    if time.tzinfo is not None:
        raise ValueError("the time zone is not part of a time of day")
    return time


LocalTime = Annotated[clock_time, AfterValidator(_check_local)]


class TimeOfDay(Value):
    """A daily span of clock time. It includes midnight if it ends before it starts."""

    start: LocalTime
    end: LocalTime
    zone: Zone | None = None
    """None: the time zone of this machine."""

    def contains(self, moment: datetime) -> bool:
        """Return whether a clock time lies in the span. The end is excluded."""
        local = moment.astimezone(self.zone).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end


def parse_time_of_day(text: str, zone: object) -> TimeOfDay:
    """Parse HH:MM-HH:MM.

    Args:
        text: the span.
        zone: a time zone, its name, or None for that of this machine.

    Raises:
        InvalidInputError: it is not such a span, it is empty, or the time zone does not exist.
    """
    start, _, end = text.partition("-")
    try:
        span = TimeOfDay.model_validate({"start": start.strip(), "end": end.strip(), "zone": zone})
    except ValidationError as error:
        raise InvalidInputError(
            f"'{text}' with zone {zone} is not a time of day",
            why=str(field_errors(error)[0]),
            fix="write it as 22:00-06:00, and the zone as Europe/Berlin",
        ) from error
    if span.start == span.end:
        raise InvalidInputError(f"'{text}' is an empty time of day", fix="for the whole day, leave it out")
    return span
