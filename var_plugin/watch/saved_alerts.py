"""Saved alerts: conditions on new footage, and the receivers of the moments that meet them.

The condition is a text, an embedded image, audio or video, or the anomaly score alone. The saved alerts are stored in
one JSON file, which is written atomically.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    FingerprintMismatchError,
    InvalidInputError,
    field_errors,
    os_error_message,
)
from var_plugin.index.filters import compile_filter
from var_plugin.media.files import resolve_target
from var_plugin.private_files import create_private_file, exclusive_lock, make_private_folder
from var_plugin.retrievers.moments import check_kinds
from var_plugin.retrievers.search import check_embedded
from var_plugin.types import MAX_QUERY_LENGTH, EmbeddedQuery, Filter, Moment, Value
from var_plugin.watch.delivery import masked, parse_mqtt, parse_webhook
from var_plugin.watch.raised_alerts import RaisedAlerts
from var_plugin.watch.time_of_day import TimeOfDay

DEFAULT_QUERY_THRESHOLD = 3.0
DEFAULT_ANOMALY_THRESHOLD = 0.5
_MAX_FILE_BYTES = 4 << 20


class SavedAlert(Value):
    """A condition on new footage, and the receivers of the moments that meet it.

    Without `text` and `example`, moments are compared by their anomaly score.
    """

    name: Annotated[str, Field(min_length=1, max_length=100)]
    text: Annotated[str | None, Field(min_length=1)] = None
    example: EmbeddedQuery | None = None
    threshold: FiniteFloat
    """Minimum score of a moment: the z-score of a query, or an anomaly score from 0 to 1."""
    per_day: Annotated[float | None, Field(gt=0, le=50)] = None
    """Maximum number of alerts per day and camera, on average. It raises the threshold where the history has more."""
    filter: Filter = Filter()
    time_of_day: TimeOfDay | None = None
    """Moments without a clock time do not match."""
    cool_down: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """Minimum time in seconds between two alerts of a camera."""
    webhook: str | None = None
    command: tuple[str, ...] | None = None
    """Program and arguments, run without a shell."""
    mqtt: str | None = None
    """URL of a topic: mqtt://USER@HOST:PORT/TOPIC."""

    @model_validator(mode="after")
    def _check_query(self) -> Self:
        if self.text is not None and self.example is not None:
            raise ValueError("an alert has a text or a file, not both")
        return self

    def matches(self, moment: Moment) -> bool:
        """Return whether a moment reaches the threshold and lies in the time of day."""
        if moment.score < self.threshold:
            return False
        return self.time_of_day is None or (
            moment.recorded_at is not None and self.time_of_day.contains(moment.recorded_at)
        )

    @property
    def receivers(self) -> tuple[str, ...]:
        """The receivers, without credentials and query strings of webhooks, and without the arguments of a command."""
        webhook = masked(self.webhook) if self.webhook else None
        program = f"the program {self.command[0]}" if self.command else None
        return tuple(receiver for receiver in (webhook, self.mqtt, program) if receiver)

    @property
    def condition(self) -> str:
        """The condition in one line."""
        what = f"'{self.text}'" if self.text is not None else "any anomaly"
        if self.example is not None:
            what = f"like {self.example.modality} '{self.example.source}'"
        elif self.text is None and self.filter.kinds:
            what = ""
        parts = [
            what,
            self.filter.kinds and f"kind {' or '.join(self.filter.kinds)}",
            f"score >= {self.threshold:g}",
            self.filter.min_anomaly is not None and f"anomaly score >= {self.filter.min_anomaly:g}",
            self.per_day and f"at most {self.per_day:g} a day",
            self.filter.cameras and f"camera {' or '.join(self.filter.cameras)}",
            self.time_of_day and f"{self.time_of_day.start:%H:%M}-{self.time_of_day.end:%H:%M}",
            self.cool_down and f"cool-down {self.cool_down:g} s",
        ]
        return "  ".join(str(part) for part in parts if part)

    def check_suite(self, suite: Suite) -> None:
        """Check that a suite can evaluate the alert.

        Raises:
            FingerprintMismatchError: its file was embedded by another suite.
            InvalidInputError: the suite does not recognise one of its kinds of events.
        """
        try:
            check_kinds(suite, self.filter.kinds)
            if self.example is not None:
                check_embedded(suite, self.example)
        except (FingerprintMismatchError, InvalidInputError) as error:
            raise type(error)(
                f"the alert '{self.name}' cannot be used: {error.what}",
                why=error.why,
                fix="save it again with var-plugin alerts add, or remove it",
            ) from error


_SAVED = TypeAdapter(tuple[SavedAlert, ...])


class SavedAlerts:
    """The saved alerts of a file. Other processes may change the file at any time.

    Args:
        file: path of the file. It need not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.raised = RaisedAlerts(file.with_suffix(".raised.db"))

    @property
    def alerts(self) -> tuple[SavedAlert, ...]:
        """The saved alerts, oldest first.

        Raises:
            InvalidInputError: the file cannot be read or does not contain saved alerts.
        """
        try:
            # Non-blocking: opening a FIFO at this path would block forever.
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise self._unusable("it is not a regular file")
                content = file.read(_MAX_FILE_BYTES + 1)
            if len(content) > _MAX_FILE_BYTES:
                raise self._unusable(f"it is larger than {_MAX_FILE_BYTES >> 20} MiB")
            return _SAVED.validate_json(content)
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            raise self._unusable(str(field_errors(error)[0])) from error
        except OSError as error:
            raise InvalidInputError(
                f"cannot read {self._file}",
                why=os_error_message(error),
                fix="check its permissions, or name another: --alerts",
            ) from error

    def save(self, alert: SavedAlert) -> None:
        """Store an alert. It replaces an alert of the same name.

        Raises:
            InvalidInputError: the alert has no receiver, a value cannot be stored, the URL of a receiver is invalid, or
                the file cannot be written.
        """
        self.check_receivers(alert)
        compile_filter(alert.filter)  # raises for values that no footage can have
        try:
            alert.model_dump_json()
        except PydanticSerializationError as error:
            raise InvalidInputError(
                f"saved alert '{alert.name}' cannot be stored", why="its command or a name is not valid Unicode"
            ) from error
        if alert.text is not None and len(alert.text) > MAX_QUERY_LENGTH:
            raise InvalidInputError(
                f"the text of saved alert '{alert.name}' has {len(alert.text)} characters",
                why=f"the limit is {MAX_QUERY_LENGTH}",
                fix="describe the moment in a sentence",
            )
        with self._locked():
            self._write((*(other for other in self.alerts if other.name != alert.name), alert))

    def check_receivers(self, alert: SavedAlert) -> None:
        """Raise `InvalidInputError` if an alert has no receiver, or the URL of a receiver is invalid."""
        if alert.webhook is None and alert.mqtt is None and not alert.command:
            raise InvalidInputError(
                f"saved alert '{alert.name}' has no receiver", fix="add --webhook, --mqtt or --command"
            )
        if alert.webhook is not None:
            parse_webhook(alert.webhook)
        if alert.mqtt is not None:
            parse_mqtt(alert.mqtt)

    def named(self, name: str) -> SavedAlert:
        """Return the alert of a name.

        Raises:
            InvalidInputError: no alert has that name, or the file cannot be read.
        """
        for alert in self.alerts:
            if alert.name == name:
                return alert
        raise _unknown(name)

    def remove(self, name: str) -> None:
        """Delete an alert, and the list of what it has raised.

        Raises:
            InvalidInputError: no alert has that name, or the file cannot be written.
        """
        with self._locked():
            alerts = self.alerts
            others = tuple(alert for alert in alerts if alert.name != name)
            if len(others) == len(alerts):
                raise _unknown(name)
            self._write(others)
        self.raised.remove(name)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file against changes by others, so that no alert is lost."""
        with ExitStack() as stack:
            try:
                file = resolve_target(self._file)  # keeps a symbolic link
                if not file.parent.exists():
                    make_private_folder(file.parent)
                stack.enter_context(exclusive_lock(file.with_name(f".{file.name}.lock")))
            except OSError as error:
                raise self._not_writable(error) from error
            yield

    def _write(self, alerts: tuple[SavedAlert, ...]) -> None:
        try:
            file = resolve_target(self._file)  # keeps a symbolic link
            unfinished = file.with_name(f".{file.name}.unfinished")
            # URLs and commands may contain secrets.
            with create_private_file(unfinished) as opened:
                opened.write(_SAVED.dump_json(alerts, indent=2))
            unfinished.replace(file)
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> InvalidInputError:
        return InvalidInputError(
            f"cannot write {self._file}", why=os_error_message(error), fix="name another file: --alerts"
        )

    def _unusable(self, why: str) -> InvalidInputError:
        return InvalidInputError(f"{self._file} does not hold saved alerts", why=why, fix="correct or remove the file")


def _unknown(name: str) -> InvalidInputError:
    return InvalidInputError(f"no saved alert is called {name}", fix="list them: var-plugin alerts list")
