"""Commands that follow cameras: watch a folder or a stream, keep queries that raise alerts."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from var_plugin.cli.index import search_filter
from var_plugin.cli.options import (
    IndexOption,
    JsonOption,
    OffsetOption,
    SuiteOption,
    ZoneOption,
    app,
    camera_clock,
    opened,
    print_json,
)
from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.types import VideoReceipt
    from var_plugin.watch.alerts import SavedQueries

alerts_app = typer.Typer(help="Keep queries that raise an alert when `watch` finds them.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")

AlertsOption = Annotated[
    Path | None, typer.Option("--alerts", metavar="FILE", help="File of the saved queries. [env: VAR_PLUGIN_ALERTS]")
]


@app.command()
def watch(
    source: Annotated[
        str,
        typer.Argument(
            envvar="VAR_PLUGIN_SOURCE", help="The folder that cameras write to, or the address rtsp://… of one."
        ),
    ],
    camera: Annotated[str | None, typer.Option(help="Name of the camera; else folder or file, or the host.")] = None,
    zone: ZoneOption = None,
    clock_offset: OffsetOption = None,
    keep_days: Annotated[float | None, typer.Option(help="Delete videos from the index once they are older.")] = None,
    quota: Annotated[
        float | None, typer.Option(metavar="GB", help="Delete the oldest when index and recordings take more.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder for what is recorded of a stream. [env: VAR_PLUGIN_RECORDINGS]")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Length of the recordings of a stream.")] = 5.0,
    alerts: AlertsOption = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A host that alerts may be sent to.")] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index a folder's videos and every new one, or record and index a stream, until Ctrl-C; print what was done."""
    from var_plugin.watch.alerts import Alerts
    from var_plugin.watch.watcher import Retention, Watch

    clock = camera_clock(zone, clock_offset)
    stop = threading.Event()
    raising = Alerts(_saved(alerts), allow_host or (), stop=stop)
    retention = Retention(keep_days, None if quota is None else quota * 1e9)
    interrupted = False
    end = _End(stop)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with opened(index, suite, new=True) as library:
        watched = Watch(library, stop, camera, clock, raising, retention, _say, _note)
        try:
            if "://" in source:
                watched.stream(source, recordings, seconds=minutes * 60)
            else:
                watched.folder(Path(source))
        except KeyboardInterrupt:  # the second one
            interrupted = True
    counts = {what: count for what, count in watched.counts.items() if count}
    if as_json:
        print_json(counts)
    else:
        print(", ".join(f"{count} {what}" for what, count in counts.items()) or "no new files")
    raise typer.Exit(130 if interrupted else 0 if watched.ok else 1)


@alerts_app.command("add")
def add_alert(
    name: Annotated[str, typer.Argument(help="What to call it; one of that name is replaced.")],
    text: Annotated[str, typer.Argument(help="What to look for, in words.")],
    threshold: Annotated[float, typer.Option(help="Score from which a moment counts; `search` shows what is usual.")],
    webhook: Annotated[str | None, typer.Option(help="Address that the moment is posted to, as JSON.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Program and arguments; it gets the moment as JSON on stdin, and no shell.")
    ] = None,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    min_anomaly: Annotated[float | None, typer.Option(help="Only segments at least this unusual, 0 to 1.")] = None,
    alerts: AlertsOption = None,
) -> None:
    """Save a query."""
    from pydantic import ValidationError

    from var_plugin.watch.alerts import SavedQuery

    try:
        words = shlex.split(command) if command else []
    except ValueError as error:
        raise InvalidInputError(
            "the command cannot be split into words", why=str(error), fix="check its quotes"
        ) from None
    try:
        query = SavedQuery(
            name=name,
            text=text,
            threshold=threshold,
            filter=search_filter(cameras=camera or None, min_anomaly=min_anomaly),
            webhook=webhook,
            command=tuple(words) or None,
        )
    except ValidationError as error:
        raise InvalidInputError(str(field_errors(error)[0]), fix="see var-plugin alerts add --help") from error
    _saved(alerts).save(query)


@alerts_app.command("list")
def list_alerts(alerts: AlertsOption = None, as_json: JsonOption = False) -> None:
    """List the saved queries. User, password and query of a webhook are not printed."""
    from var_plugin.watch.alerts import masked

    queries = [
        query.model_copy(update={"webhook": query.webhook and masked(query.webhook)})
        for query in _saved(alerts).queries
    ]
    if as_json:
        print_json([query.model_dump(mode="json") for query in queries])
        return
    for query in queries:
        receivers = [receiver for receiver in (query.webhook, query.command and shlex.join(query.command)) if receiver]
        print(printable(f"{query.name}  '{query.text}' from {query.threshold:g} on  {'  '.join(receivers)}"))


@alerts_app.command("remove")
def remove_alert(
    name: Annotated[str, typer.Argument(help="As `alerts list` names it.")], alerts: AlertsOption = None
) -> None:
    """Delete a saved query."""
    _saved(alerts).remove(name)


def _saved(file: Path | None) -> SavedQueries:
    from var_plugin.config import settings
    from var_plugin.watch.alerts import SavedQueries

    return SavedQueries(file or settings().alerts)


class _End:
    """Ends a watch in order at the first signal, and at once at the second."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop, self._signals = stop, 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            raise KeyboardInterrupt
        # Not here: the main thread may be inside the lock of the event.
        threading.Thread(target=self._stop.set).start()


def _say(line: VideoReceipt) -> None:
    from var_plugin.terminal import recording

    _note(f"{line.status}: {line.path} {line.reason or recording(line)}")


def _note(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)
