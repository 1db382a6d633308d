"""Commands that monitor cameras: watch a folder or a stream, and manage the saved queries that raise alerts."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
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
    example,
    opened_index,
    parse_clock,
    print_json,
)
from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.types import VideoReceipt
    from var_plugin.watch.alerts import SavedQueries

alerts_app = typer.Typer(
    help="Manage saved queries. `watch` raises an alert when new footage matches one.",
    epilog=example("alerts list"),
    no_args_is_help=True,
)
app.add_typer(alerts_app, name="alerts")

AlertsOption = Annotated[
    Path | None, typer.Option("--alerts", metavar="FILE", help="File with the saved queries. [env: VAR_PLUGIN_ALERTS]")
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
            envvar="VAR_PLUGIN_SOURCE", help="Folder that cameras write to, or the rtsp:// URL of a camera."
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
        Path | None, typer.Option(help="Folder for the recordings of a stream. [env: VAR_PLUGIN_RECORDINGS]")
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
    """Index the videos in a folder and all new ones, or record and index a stream. Ctrl-C stops and prints counts."""
    from var_plugin.watch.alerts import Alerts
    from var_plugin.watch.watcher import Retention, Watch

    clock = parse_clock(zone, clock_offset)
    stop = threading.Event()
    notifier = Alerts(_saved_queries(alerts), allow_host or (), stop=stop)
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
        'alerts add intruder "a person climbs over a fence" --threshold 4 --webhook https://hooks.example.org/alert'
    ),
)
def add_alert(
    name: Annotated[str, typer.Argument(help="Name of the query. A query with the same name is replaced.")],
    text: Annotated[str, typer.Argument(help="Text query.")],
    threshold: Annotated[
        float, typer.Option(help="Minimum score of a moment. See the scores that `search` prints for typical values.")
    ],
    webhook: Annotated[str | None, typer.Option(help="URL to which the moment is posted as JSON.")] = None,
    command: Annotated[
        str | None,
        typer.Option(help="Program with arguments, run without a shell. It gets the moment as JSON on stdin."),
    ] = None,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    min_anomaly: Annotated[float | None, typer.Option(help="Minimum anomaly score, 0 to 1.")] = None,
    alerts: AlertsOption = None,
) -> None:
    """Save a query that raises alerts."""
    from pydantic import ValidationError

    from var_plugin.watch.alerts import SavedQuery

    try:
        arguments = shlex.split(command) if command else []
    except ValueError as error:
        raise InvalidInputError("cannot parse the command", why=str(error), fix="check its quotes") from None
    try:
        query = SavedQuery(
            name=name,
            text=text,
            threshold=threshold,
            filter=build_filter(cameras=camera or None, min_anomaly=min_anomaly),
            webhook=webhook,
            command=tuple(arguments) or None,
        )
    except ValidationError as error:
        raise InvalidInputError(str(field_errors(error)[0]), fix="see var-plugin alerts add --help") from error
    _saved_queries(alerts).save(query)


@alerts_app.command("list", epilog=example("alerts list --json"))
def list_alerts(alerts: AlertsOption = None, as_json: JsonOption = False) -> None:
    """List the saved queries. Credentials and query strings of webhooks are masked."""
    from var_plugin.watch.alerts import masked

    queries = [
        query.model_copy(update={"webhook": query.webhook and masked(query.webhook)})
        for query in _saved_queries(alerts).queries
    ]
    if as_json:
        print_json([query.model_dump(mode="json") for query in queries])
        return
    for query in queries:
        receivers = [receiver for receiver in (query.webhook, query.command and shlex.join(query.command)) if receiver]
        print(printable(f"{query.name}  '{query.text}'  score >= {query.threshold:g}  {'  '.join(receivers)}"))


@alerts_app.command("remove", epilog=example("alerts remove intruder"))
def remove_alert(
    name: Annotated[str, typer.Argument(help="Name of the query, from `alerts list`.")], alerts: AlertsOption = None
) -> None:
    """Delete a saved query."""
    _saved_queries(alerts).remove(name)


def _saved_queries(file: Path | None) -> SavedQueries:
    from var_plugin.config import settings
    from var_plugin.watch.alerts import SavedQueries

    return SavedQueries(file or settings().alerts)


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
