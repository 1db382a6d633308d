"""The alerts that were raised, so that one event raises one alert, whatever happens to its file.

An event is a span of clock time of a camera. Without a clock time, it is a span of a video, whose id is the hash of its
content. The alerts are stored in a SQLite file beside the saved alerts, because several watches may share these.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from var_plugin.errors import StoreError, os_error_message
from var_plugin.types import Moment

_MAX_AGE_SECONDS = 90 * 86_400.0
_LOCK_SECONDS = 30.0
_TABLE = """
create table if not exists raised (
    id integer primary key, alert text, camera text, video_id text, start real, end real,
    recorded real, -- clock time at `start`, in seconds since 1970; null if unknown
    raised real    -- when the alert was raised
)
"""
_INDEX = "create index if not exists raised_camera on raised (alert, camera)"
_SAME_EVENT = """
select 1 from raised where alert = :alert and (
    camera = :camera and recorded <= :recorded + :end - :start and recorded + end - start >= :recorded
    or video_id = :video_id and start <= :end and end >= :start
)
"""
_COOL_DOWN = """
select 1 from raised where alert = :alert and camera = :camera
    and abs(iif(:recorded is null or recorded is null, :now - raised, :recorded - recorded)) < :cool_down
"""


class RaisedAlerts:
    """The raised alerts of a SQLite file. They are deleted after 90 days.

    Args:
        file: path of the file. It is created with the first alert.
        clock: seconds since 1970.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file, self._clock = file, clock

    def claim(self, alert: str, moment: Moment, cool_down: float = 0.0) -> int | None:
        """Store that an alert is raised for a moment and return its number.

        Return None if it was raised for a moment that overlaps this one, or within the cool-down.

        Args:
            alert: name of the alert.
            moment: the moment.
            cool_down: minimum time between two alerts of a camera, in seconds of clock time. Moments without a clock
                time count from now.

        Raises:
            StoreError: the file cannot be used.
        """
        now = self._clock()
        values = {
            "alert": alert,
            "camera": moment.camera,
            "video_id": moment.video_id,
            "start": moment.start,
            "end": moment.end,
            "recorded": moment.recorded_at and moment.recorded_at.timestamp(),
            "now": now,
            "cool_down": cool_down,
        }
        with self._transaction() as database:
            if database.execute(_SAME_EVENT, values).fetchone() or database.execute(_COOL_DOWN, values).fetchone():
                return None
            database.execute("delete from raised where raised < ?", (now - _MAX_AGE_SECONDS,))
            return database.execute(
                "insert into raised (alert, camera, video_id, start, end, recorded, raised)"
                " values (:alert, :camera, :video_id, :start, :end, :recorded, :now)",
                values,
            ).lastrowid

    def withdraw(self, numbers: Iterable[int]) -> None:
        """Delete alerts by the numbers that `claim` returned, because they were not delivered."""
        rows = [(number,) for number in numbers]
        if rows:
            with self._transaction() as database:
                database.executemany("delete from raised where id = ?", rows)

    def remove(self, alert: str) -> None:
        """Delete all raised alerts of a name."""
        if self._file.exists():
            with self._transaction() as database:
                database.execute("delete from raised where alert = ?", (alert,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            # SQLite would create the file for all users to read.
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(self._file, timeout=_LOCK_SECONDS, isolation_level=None)) as database:
                database.execute("begin immediate")
                database.execute(_TABLE)
                database.execute(_INDEX)
                yield database
                database.execute("commit")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"cannot use {self._file}, the list of raised alerts",
                why=os_error_message(error),
                fix="check its permissions, or remove it",
            ) from error
