"""Commands that monitor cameras: watch a folder or a stream, and manage the saved alerts."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from var_plugin.cli.index import build_filter
from var_plugin.cli.options import (
    IndexOption,
    JsonOption,
    OffsetOption,
    SuiteOption,
    ZoneOption,
    app,
    check_location,
    example,
    opened_index,
    parse_clock,
    parse_path,
    print_json,
)
from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.types import VideoReceipt
    from var_plugin.watch.saved_alerts import SavedAlert, SavedAlerts
    from var_plugin.watch.time_of_day import TimeOfDay

alerts_app = typer.Typer(
    help="Manage saved alerts. `watch` raises one when new footage meets its condition.",
    epilog=example("alerts list"),
    no_args_is_help=True,
)
app.add_typer(alerts_app, name="alerts")

AlertsOption = Annotated[
    Path | None,
    typer.Option(
        "--alerts", metavar="FILE", help="File with the saved alerts. [env: VAR_PLUGIN_ALERTS]", parser=parse_path
    ),
]


@app.command(
    epilog=example(
        "watch recordings/ --index footage.db --keep-days 30",
        "watch rtsp://192.0.2.7/stream1 --camera north --index footage.db",
    )
)
def watch(
    source: Annotated[
        str,
        typer.Argument(
            envvar="VAR_PLUGIN_SOURCE",
            callback=check_location,
            help="Folder that cameras write to, or the rtsp:// URL of a camera.",
        ),
    ],
    camera: Annotated[
        str | None, typer.Option(help="Name of the camera. Default: taken from the folder, the file name or the URL.")
    ] = None,
    zone: ZoneOption = None,
    clock_offset: OffsetOption = None,
    keep_days: Annotated[
        float | None, typer.Option(help="Delete videos older than this number of days from the index.")
    ] = None,
    quota: Annotated[
        float | None,
        typer.Option(metavar="GB", help="Delete the oldest videos if index and recordings are larger than this."),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the recordings of a stream. [env: VAR_PLUGIN_RECORDINGS]",
            metavar="PATH",
            parser=parse_path,
        ),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Length of one recording of a stream, in minutes.")] = 5.0,
    alerts: AlertsOption = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Host that alerts may be sent to; may be repeated.")
    ] = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index new videos of a folder or a stream as they arrive. Ctrl-C stops and prints counts.

    Existing videos in the folder are indexed first. A stream is recorded to files.
    """
    from var_plugin.config import settings
    from var_plugin.watch.alerts import Alerts
    from var_plugin.watch.watcher import Retention, Watch

    clock = parse_clock(zone, clock_offset)
    stop = threading.Event()
    notifier = Alerts(
        _saved_alerts(alerts),
        allow_host or (),
        mqtt_password=settings().mqtt_password.get_secret_value(),
        stop=stop,
        on_message=_print_note,
    )
    retention = Retention(keep_days, None if quota is None else quota * 1e9)
    is_interrupted = False
    handler = _StopHandler(stop)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
    with opened_index(location, suite, create=True) as index:
        watcher = Watch(index, stop, camera, clock, notifier, retention, _print_result, _print_note)
        try:
            if "://" in source:
                watcher.stream(source, recordings, seconds=minutes * 60)
            else:
                watcher.folder(Path(source))
        except KeyboardInterrupt:  # second signal
            is_interrupted = True
    counts = {status: count for status, count in watcher.counts.items() if count}
    if as_json:
        print_json(counts)
    else:
        print(", ".join(f"{count} {status}" for status, count in counts.items()) or "No new files")
    raise typer.Exit(130 if is_interrupted else 0 if watcher.ok else 1)


@alerts_app.command(
    "add",
    epilog=example(
        'alerts add intruder "a person climbs over a fence" --webhook https://hooks.example.org/alert',
        "alerts add fire --kind fire --kind smoke --cool-down 10m --mqtt mqtts://ann@broker.example.org/cameras/alerts",
        "alerts add night --anomaly --per-day 2 --time-of-day 22:00-06:00 --command 'notify-send Unusual'",
        "alerts add van --image van.jpg --threshold 4 --camera gate --command 'notify-send Van'",
    ),
)
def add_alert(
    name: Annotated[str, typer.Argument(help="Name of the alert. An alert with the same name is replaced.")],
    text: Annotated[str | None, typer.Argument(help="Text that describes the moments.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="Image instead of a text. It is embedded now and may be deleted afterwards.",
            metavar="PATH",
            parser=parse_path,
        ),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Audio instead of a text.", metavar="PATH", parser=parse_path)
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Video clip instead of a text.", metavar="PATH", parser=parse_path)
    ] = None,
    anomaly: Annotated[bool, typer.Option("--anomaly", help="Any unusual moment, without a text.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only moments with this kind of event, such as fire; may be repeated.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Minimum score of a moment, as `search` prints it (default 3); without a text or a file, the anomaly "
            "score from 0 to 1 (default 0.5)."
        ),
    ] = None,
    per_day: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Maximum number of alerts a day and camera, on average. The threshold is raised if the last 14 days "
            "in the index have more.",
        ),
    ] = None,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    time_of_day: Annotated[
        str | None, typer.Option(metavar="HH:MM-HH:MM", help="Only between these clock times, such as 22:00-06:00.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="NAME", help="Time zone of --time-of-day. Default: that of this machine.")
    ] = None,
    cool_down: Annotated[
        str | None, typer.Option(metavar="TIME", help="Minimum time between two alerts of a camera: 90s, 10m or 2h.")
    ] = None,
    min_anomaly: Annotated[float | None, typer.Option(help="Minimum anomaly score, 0 to 1.")] = None,
    webhook: Annotated[str | None, typer.Option(help="URL to which the moment is posted as JSON.")] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="MQTT topic to which the moment is sent: mqtt://USER@HOST:PORT/TOPIC, or mqtts:// with TLS. The "
            "password is VAR_PLUGIN_MQTT_PASSWORD of `watch`.",
        ),
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="Program with arguments, run without a shell. It gets the moment as JSON on stdin."),
    ] = None,
    alerts: AlertsOption = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
) -> None:
    """Save an alert. It has a condition on new footage, and receivers of the matching moments."""
    from pydantic import ValidationError

    from var_plugin.config import require
    from var_plugin.watch.saved_alerts import DEFAULT_ANOMALY_THRESHOLD, DEFAULT_QUERY_THRESHOLD, SavedAlert

    files = {modality: path for modality, path in {"image": image, "audio": audio, "video": video}.items() if path}
    if (text is not None) + len(files) + anomaly > 1:
        raise InvalidInputError(
            f"alert '{name}' has several conditions", fix="give one of them: a text, a file, or --anomaly"
        )
    if text is None and not files and not anomaly and not kind:
        raise InvalidInputError(
            f"alert '{name}' has no condition", fix="give a text, --image, --audio, --video, --kind or --anomaly"
        )
    try:
        arguments = shlex.split(command) if command else []
    except ValueError as error:
        raise InvalidInputError("cannot parse the command", why=str(error), fix="check its quotes") from None
    is_query = text is not None or bool(files)
    try:
        alert = SavedAlert(
            name=name,
            text=text,
            threshold=(DEFAULT_QUERY_THRESHOLD if is_query else DEFAULT_ANOMALY_THRESHOLD)
            if threshold is None
            else threshold,
            per_day=per_day,
            filter=build_filter(cameras=camera or None, kinds=kind or None, min_anomaly=min_anomaly),
            time_of_day=_parse_time_of_day(time_of_day, zone),
            cool_down=_parse_seconds(cool_down),
            webhook=webhook,
            command=tuple(arguments) or None,
            mqtt=mqtt,
        )
    except ValidationError as error:
        raise InvalidInputError(str(field_errors(error)[0]), fix="see var-plugin alerts add --help") from error
    saved = _saved_alerts(alerts)
    saved.check_receivers(alert)
    if mqtt is not None:
        require("mqtt", "paho")
    if files or kind:
        alert = _complete(alert, files, location, suite)
    saved.save(alert)


@alerts_app.command("list", epilog=example("alerts list --json"))
def list_alerts(alerts: AlertsOption = None, as_json: JsonOption = False) -> None:
    """List the saved alerts. Credentials and query strings of webhooks are masked."""
    from var_plugin.watch.delivery import masked

    saved = [
        alert.model_copy(update={"webhook": alert.webhook and masked(alert.webhook)})
        for alert in _saved_alerts(alerts).alerts
    ]
    if as_json:
        print_json([alert.model_dump(mode="json", exclude={"example": {"vectors"}}) for alert in saved])
        return
    for alert in saved:
        receivers = [alert.webhook, alert.mqtt, alert.command and shlex.join(alert.command)]
        print(printable("  ".join([alert.name, alert.condition, *(receiver for receiver in receivers if receiver)])))


@alerts_app.command("remove", epilog=example("alerts remove intruder"))
def remove_alert(
    name: Annotated[str, typer.Argument(help="Name of the alert, from `alerts list`.")], alerts: AlertsOption = None
) -> None:
    """Delete a saved alert, and the list of what it has raised."""
    _saved_alerts(alerts).remove(name)


@alerts_app.command("test", epilog=example("alerts test intruder --days 7 --index footage.db"))
def test_alert(
    name: Annotated[str, typer.Argument(help="Name of the alert, from `alerts list`.")],
    days: Annotated[int, typer.Option(min=1, max=365, help="Number of past days.")] = 7,
    alerts: AlertsOption = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try an alert on past footage. Count what it would have raised. Nothing is delivered."""
    from var_plugin.watch.alerts import IndexFootage, describe, dry_run

    alert = _saved_alerts(alerts).named(name)
    with opened_index(location, suite) as index:
        alert.check_suite(index.suite)
        runs = dry_run(alert, IndexFootage(index), days, datetime.now(UTC))
    if as_json:
        print_json([run.model_dump(mode="json") for run in runs])
        return
    for run in runs:
        count = sum(run.alerts.values())
        more = " or more" if run.is_incomplete else ""
        print(
            printable(f"{run.threshold.camera}  {count}{more} alerts in {days} days  {describe(run.threshold, alert)}")
        )
        for day, number in sorted(run.alerts.items()):
            print(printable(f"{run.threshold.camera}  {day}  {number}"))
    if not runs:
        print(f"no footage with a clock time of the last {days} days")


def _complete(alert: SavedAlert, files: Mapping[str, Path], location: str | None, suite: str | None) -> SavedAlert:
    """Embed the file of an alert and check its kinds, with the suite of the index or, without one, the given suite."""
    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite
    from var_plugin.index.milvus.options import is_local, milvus_uri
    from var_plugin.retrievers.search import embed_query, make_query

    uri = milvus_uri(location or settings().index)
    with ExitStack() as stack:
        if is_local(uri) and not os.path.lexists(uri):
            loaded = load_suite(suite or settings().suite)
        else:
            loaded = stack.enter_context(opened_index(location, suite)).suite
        if files:
            alert = alert.model_copy(update={"example": embed_query(loaded, make_query(**files))})
        alert.check_suite(loaded)
    return alert


def _parse_time_of_day(text: str | None, zone: str | None) -> TimeOfDay | None:
    """Parse HH:MM-HH:MM in a time zone.

    Raises:
        InvalidInputError: it is not such a span, or the time zone does not exist.
    """
    from var_plugin.config import settings
    from var_plugin.watch.time_of_day import parse_time_of_day

    if text is None:
        if zone is not None:
            raise InvalidInputError("--zone applies to --time-of-day only", fix="add --time-of-day")
        return None
    return parse_time_of_day(text, zone or settings().zone)


def _parse_seconds(text: str | None) -> float:
    """Parse a time such as 90s, 10m or 2h. None: 0.

    Raises:
        InvalidInputError: it is not such a time.
    """
    if text is None:
        return 0.0
    match = re.fullmatch(r"(\d{1,6})([smh])", text)
    if not match:
        raise InvalidInputError(f"'{text}' is not a time", fix="write it as 90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _saved_alerts(file: Path | None) -> SavedAlerts:
    from var_plugin.config import settings
    from var_plugin.watch.saved_alerts import SavedAlerts

    return SavedAlerts(file or settings().alerts)


class _StopHandler:
    """Signal handler: the first signal sets the stop event, the second one raises KeyboardInterrupt."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop, self._signals = stop, 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt
        # In another thread, because the interrupted main thread may hold the lock of the event.
        threading.Thread(target=self._stop.set).start()


def _print_result(result: VideoReceipt) -> None:
    from var_plugin.terminal import recording

    _print_note(f"{result.status}: {result.path} {result.reason or recording(result)}")


def _print_note(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
