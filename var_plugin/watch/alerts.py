"""Raise alerts: find the moments of new footage that meet the conditions of saved alerts, and deliver them."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from var_plugin.api import Index
from var_plugin.encoders.suite import Suite
from var_plugin.errors import FingerprintMismatchError, QueryError, UnknownVideoError
from var_plugin.types import Filter, Moment, Value
from var_plugin.watch.delivery import Deliveries, Send
from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts

logger = logging.getLogger(__name__)

HISTORY_DAYS = 14
"""Days of footage from which the threshold of an alert with `per_day` is chosen."""
_RECEIVERS_AT_ONCE = 8
_MAX_MOMENTS = 10
"""Maximum number of moments per video and alert."""
_MAX_HISTORY = 500
"""Maximum number of moments per camera that are read from the history."""
_DAY_SECONDS = 86_400.0


class Alert(Value):
    """A moment that met the condition of a saved alert, with the result of its delivery."""

    name: str
    """Name of the saved alert."""
    moment: Moment
    failures: tuple[str, ...] = ()
    """Reasons of failed deliveries. Empty if all receivers accepted the alert."""


class Threshold(Value):
    """The threshold of an alert on one camera."""

    camera: str
    score: float
    days: int
    """Days with footage from which it was chosen. 0: it is the threshold of the alert."""


class CameraRun(Value):
    """The alerts that one camera would have raised."""

    threshold: Threshold
    alerts: Mapping[date, int]
    """Number of alerts per day."""
    is_incomplete: bool
    """True if there were more moments than were read, so that there may be more alerts."""


class Footage(Protocol):
    """The methods of an index that alerts use."""

    def search(self, alert: SavedAlert, conditions: Filter, k: int) -> Sequence[Moment]:
        """Return the k best moments for the query of an alert, or the most anomalous ones, best first."""

    def with_thumbnail(self, moment: Moment) -> Moment:
        """Return a moment with its thumbnail, if its footage can be read."""

    def recorded_days(self, since: datetime) -> Mapping[str, int]:
        """Return the number of days with footage since a time, per camera."""


class IndexFootage:
    """The footage of an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def search(self, alert: SavedAlert, conditions: Filter, k: int) -> list[Moment]:
        """Return the k best moments for the query of an alert, or the most anomalous ones, best first."""
        if alert.example is not None:
            return self._index.search_embedded(alert.example, k=k, filter=conditions)
        if alert.text is not None:
            return self._index.search(alert.text, k=k, filter=conditions)
        return self._index.anomalies(k, filter=conditions)

    def with_thumbnail(self, moment: Moment) -> Moment:
        """Return a moment with its thumbnail, if its footage can be read."""
        try:
            thumbnail = self._index.thumbnail(moment.video_id, moment.peak)
        except UnknownVideoError:  # it was deleted meanwhile
            return moment
        return moment.model_copy(update={"thumbnail": thumbnail})

    def recorded_days(self, since: datetime) -> dict[str, int]:
        """Return the number of days (UTC) with footage since a time, per camera."""
        days: dict[str, set[date]] = {}
        for video in self._index.videos():
            if video.recorded_at is None or video.state != "committed":
                continue
            start = max(video.recorded_at, since)
            end = video.recorded_at + timedelta(seconds=video.duration)
            while start <= end:
                days.setdefault(video.camera, set()).add(start.astimezone(UTC).date())
                start += timedelta(days=1)
        return {camera: len(dates) for camera, dates in days.items()}


class Alerts:
    """Raise alerts for new footage that meets the conditions of saved alerts.

    Alerts saved later apply to later checks.

    Args:
        saved: the saved alerts.
        hosts: the allowed hosts of webhooks and MQTT brokers.
        mqtt_password: password for MQTT brokers whose URL names a user.
        stop: once it is set, failed deliveries are not retried.
        on_message: called with one line per threshold that is chosen from the history.

    Raises:
        InvalidInputError: the alerts cannot be read, or the host of a receiver is not allowed.
    """

    def __init__(
        self,
        saved: SavedAlerts,
        hosts: Iterable[str] = (),
        *,
        mqtt_password: str = "",
        stop: threading.Event | None = None,
        on_message: Callable[[str], None] = logger.info,
    ) -> None:
        self._saved, self._on_message = saved, on_message
        self._deliveries = Deliveries(hosts, mqtt_password, stop or threading.Event())
        self._thresholds: dict[tuple[str, str], tuple[SavedAlert, Threshold, float]] = {}
        """The alert, its threshold and the time of its choice, per name and camera."""
        self.unusable: dict[str, str] = {}
        """Why alerts of the last check could not be evaluated, by name."""
        for alert in saved.alerts:
            for url in (alert.webhook, alert.mqtt):
                if url is not None:
                    self._deliveries.check_host(url)

    def check_suite(self, suite: Suite) -> None:
        """Check that a suite can evaluate all saved alerts.

        Raises:
            FingerprintMismatchError, InvalidInputError: as `SavedAlert.check_suite`.
        """
        for alert in self._saved.alerts:
            alert.check_suite(suite)

    def check(
        self,
        video_ids: Iterable[str],
        footage: Footage,
        *,
        earlier: Mapping[str, Sequence[Alert]] | None = None,
    ) -> list[Alert]:
        """Evaluate all saved alerts on new videos and deliver an alert for each moment that meets its condition.

        A delivery is attempted three times, or once if the last delivery to the receiver failed. A failure is logged
        and returned with its alert. Deliveries to other receivers continue. Receivers run concurrently, each for at
        most 30 s. A saved alert that the suite of the index cannot evaluate is logged and stored in `unusable`.

        Args:
            video_ids: the videos with the status `stored` in a receipt.
            footage: the index. Its other errors are propagated, and no alert is raised then.
            earlier: alerts raised for an earlier version of the same footage, by video. Moments that overlap them are
                the same event and raise no further alert.
        """
        saved, video_ids = self._saved.alerts, list(video_ids)
        matches: list[tuple[SavedAlert, Moment, int]] = []
        unusable: dict[str, str] = {}
        try:
            for alert in saved:
                try:
                    matches.extend(self._matches(alert, video_ids, footage, earlier or {}))
                except (FingerprintMismatchError, QueryError) as error:
                    unusable[alert.name] = str(error)
            alerts = [Alert(name=alert.name, moment=footage.with_thumbnail(moment)) for alert, moment, _ in matches]
        except BaseException:
            self._saved.raised.withdraw(number for _, _, number in matches)
            raise
        for name in unusable.keys() - self.unusable.keys():
            logger.error("the alert '%s' cannot be used: %s", name, unusable[name])
        self.unusable = unusable
        with ThreadPoolExecutor(_RECEIVERS_AT_ONCE, "alerts") as pool:
            deliveries = {
                (alert.name, kind): pool.submit(
                    self._deliveries.deliver,
                    (alert.name, kind),
                    send,
                    [body(alert, each.moment) for each in alerts if each.name == alert.name],
                )
                for alert in saved
                for kind, send, body in self._receivers(alert)
            }
            outcomes = {key: iter(delivery.result()) for key, delivery in deliveries.items()}
        results = [[next(each) for (name, _), each in outcomes.items() if name == alert.name] for alert in alerts]
        # An event whose alert no receiver accepted is raised again if its footage arrives again.
        self._saved.raised.withdraw(number for (_, _, number), each in zip(matches, results, strict=True) if all(each))
        return [
            alert.model_copy(update={"failures": tuple(filter(None, each))})
            for alert, each in zip(alerts, results, strict=True)
        ]

    def _receivers(self, alert: SavedAlert) -> Iterator[tuple[str, Send, Callable[[SavedAlert, Moment], bytes]]]:
        if alert.webhook is not None:
            yield "webhook", self._deliveries.webhook(alert.webhook), _body
        if alert.command:
            yield "command", self._deliveries.command(alert.command), _body
        if alert.mqtt is not None:
            yield "mqtt", self._deliveries.mqtt(alert.mqtt), _short_body

    def _matches(
        self,
        alert: SavedAlert,
        video_ids: Iterable[str],
        footage: Footage,
        earlier: Mapping[str, Sequence[Alert]],
    ) -> list[tuple[SavedAlert, Moment, int]]:
        """Return the new events of videos, in order of time, with their numbers in the list of raised alerts."""
        matches: list[tuple[SavedAlert, Moment, int]] = []
        try:
            for video_id in video_ids:
                if alert.filter.video_ids is not None and video_id not in alert.filter.video_ids:
                    continue
                conditions = alert.filter.model_copy(update={"video_ids": (video_id,)})
                k = _MAX_MOMENTS if alert.time_of_day is None else _MAX_HISTORY
                moments = [moment for moment in footage.search(alert, conditions, k) if alert.matches(moment)]
                for moment in sorted(moments[:_MAX_MOMENTS], key=lambda moment: moment.start):
                    if any(_same_event(each, alert, moment) for each in earlier.get(video_id, ())):
                        continue
                    if alert.per_day is not None and moment.score < self._threshold(alert, moment.camera, footage):
                        continue
                    number = self._saved.raised.claim(alert.name, moment, alert.cool_down)
                    if number is not None:
                        matches.append((alert, moment, number))
        except BaseException:
            self._saved.raised.withdraw(number for _, _, number in matches)
            raise
        return matches

    def _threshold(self, alert: SavedAlert, camera: str, footage: Footage) -> float:
        """Return the minimum score of a moment on a camera. It is chosen from the history at most once a day."""
        now = time.time()
        chosen, threshold, at = self._thresholds.get((alert.name, camera), (None, None, 0.0))
        if threshold is None or chosen != alert or not 0 <= now - at < _DAY_SECONDS:
            threshold = choose_threshold(alert, camera, footage, datetime.now(UTC))
            self._thresholds[alert.name, camera] = alert, threshold, now
            self._on_message(f"alert '{alert.name}': {describe(threshold, alert)}")
        return threshold.score


def choose_threshold(alert: SavedAlert, camera: str, footage: Footage, now: datetime) -> Threshold:
    """Return the threshold of an alert on a camera.

    With `per_day`, it is the lowest score that at most that number of moments a day reach, on average over the days
    with footage of the last 14 days. It is never below the threshold of the alert, and never above the highest score.

    Args:
        alert: the alert.
        camera: the camera.
        footage: the index.
        now: end of the history.
    """
    since = now - timedelta(days=HISTORY_DAYS)
    days = min(footage.recorded_days(since).get(camera, 0), HISTORY_DAYS)
    if alert.per_day is None or days == 0:
        return Threshold(camera=camera, score=alert.threshold, days=0)
    moments, is_incomplete = _history(alert, camera, footage, since)
    allowed = int(alert.per_day * days)
    score = alert.threshold
    if len(moments) > allowed:
        score = min(math.nextafter(moments[allowed].score, math.inf), moments[0].score)
    elif is_incomplete and moments:
        score = moments[-1].score
    return Threshold(camera=camera, score=score, days=days)


def describe(threshold: Threshold, alert: SavedAlert) -> str:
    """Return one line about a threshold and its origin."""
    if alert.per_day is None:
        return f"threshold {threshold.score:.2f} on camera {threshold.camera}"
    if threshold.days == 0:
        return (
            f"threshold {threshold.score:.2f} on camera {threshold.camera}, which has no footage with a clock time of "
            f"the last {HISTORY_DAYS} days"
        )
    return (
        f"threshold {threshold.score:.2f} on camera {threshold.camera}, for at most {alert.per_day:g} alerts a day over"
        f" {threshold.days} days with footage"
    )


def dry_run(alert: SavedAlert, footage: Footage, days: float, now: datetime) -> list[CameraRun]:
    """Return the alerts that each camera would have raised in the last days. Nothing is delivered.

    Footage without a clock time is not counted.

    Args:
        alert: the alert.
        footage: the index.
        days: length of the time before `now`, in days.
        now: end of the time.
    """
    since = now - timedelta(days=days)
    zone = alert.time_of_day.zone if alert.time_of_day else None
    cameras = sorted(footage.recorded_days(since))
    runs = []
    for camera in cameras if alert.filter.cameras is None else [one for one in cameras if one in alert.filter.cameras]:
        threshold = choose_threshold(alert, camera, footage, now)
        moments, is_incomplete = _history(alert, camera, footage, since)
        counts: dict[date, int] = {}
        last: datetime | None = None
        for moment in sorted(moments, key=lambda moment: moment.recorded_at or since):
            recorded = moment.recorded_at
            if recorded is None or moment.score < threshold.score:
                continue
            if last is not None and (recorded - last).total_seconds() < alert.cool_down:
                continue
            last = recorded
            day = recorded.astimezone(zone).date()
            counts[day] = counts.get(day, 0) + 1
        runs.append(CameraRun(threshold=threshold, alerts=counts, is_incomplete=is_incomplete))
    return runs


def _history(alert: SavedAlert, camera: str, footage: Footage, since: datetime) -> tuple[list[Moment], bool]:
    """Return the moments of a camera that match an alert, best first, and whether there may be more of them."""
    conditions = alert.filter.model_copy(update={"cameras": (camera,), "after": since})
    moments = footage.search(alert, conditions, _MAX_HISTORY)
    matching = [moment for moment in moments if alert.matches(moment)]
    return matching, len(moments) == _MAX_HISTORY and moments[-1].score >= alert.threshold


def _body(alert: SavedAlert, moment: Moment) -> bytes:
    content = {"alert": alert.name, "text": alert.text, "moment": moment.model_dump(mode="json")}
    return json.dumps(content).encode()


def _short_body(alert: SavedAlert, moment: Moment) -> bytes:
    """Return the body without paths, for a broker that others read."""
    event = moment.events[0] if moment.events else None
    content = {
        "alert": alert.name,
        **moment.model_dump(mode="json", include={"id", "camera", "recorded_at", "start", "end", "score"}),
        "kind": event and event.kind,
        "reason": event and event.reason,
    }
    return json.dumps(content).encode()


def _same_event(raised: Alert, alert: SavedAlert, moment: Moment) -> bool:
    other = raised.moment
    return raised.name == alert.name and moment.start <= other.end and other.start <= moment.end
