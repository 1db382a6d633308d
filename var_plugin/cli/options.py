"""Shared by the commands: the app, common options, parsing of option values, opening an index, JSON output."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_plugin.errors import InvalidInputError, field_errors
from var_plugin.escaping import json_printable

if TYPE_CHECKING:
    from var_plugin.api import Index
    from var_plugin.config import CameraClock
    from var_plugin.ingest.add import Progress
    from var_plugin.types import Filter, Scalar


def example(*lines: str) -> str:
    """Return the epilog of a command's help: command lines that show its use, without the name of the program."""
    # "\b" keeps the help formatter from wrapping the lines.
    return "\n".join(
        ["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  var-plugin {line}" for line in lines)]
    )


app = typer.Typer(
    help="Index camera footage and find moments in it by text, image, audio or video.",
    epilog=example("index cams/ --index footage.db", 'search "a man in a car" --index footage.db'),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def check_location(location: str | None) -> str | None:
    """Return a location that is not empty. An empty one is probably an unset shell variable.

    Raises:
        typer.BadParameter: it is empty.
    """
    if location == "":
        raise typer.BadParameter("the location is empty")
    return location


IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        callback=check_location,
        metavar="PATH_OR_URI",
        help="Path of the index, or URI of a Milvus server whose token is VAR_PLUGIN_TOKEN. [env: VAR_PLUGIN_INDEX]",
    ),
]
SuiteOption = Annotated[
    str | None,
    typer.Option(
        "--suite",
        metavar="NAME",
        help="Suite of encoders. Default: the suite of the index; without an index, VAR_PLUGIN_SUITE or lite.",
    ),
]
ZoneOption = Annotated[
    str | None,
    typer.Option(
        "--zone", metavar="NAME", help="Time zone of the camera's clock, such as Europe/Berlin. [env: VAR_PLUGIN_ZONE]"
    ),
]
OffsetOption = Annotated[
    float | None,
    typer.Option(
        "--clock-offset", metavar="SECONDS", help="Seconds to add to the camera's clock; negative if it is fast."
    ),
]
AfterOption = Annotated[
    str | None,
    typer.Option(
        "--after",
        metavar="TIME",
        help="Only what was recorded after this clock time: 2026-11-01T14:00+01:00, yesterday, or '3 hours ago'.",
    ),
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="TIME", help="Only what was recorded before this clock time.")
]
MetadataOption = Annotated[
    list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Metadata of a video; may be repeated.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="Additional host name of this server, such as that of a reverse proxy; may be repeated.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from var_plugin import __version__

        print(f"var-plugin {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


@contextmanager
def opened_index(location: str | None, suite: str | None, *, create: bool = False) -> Iterator[Index]:
    """Open an index and close it after the block.

    Args:
        location: path or Milvus URI. None: the setting `index`.
        suite: name of the suite. None: the suite of the index.
        create: whether a missing index is created.

    Raises:
        IndexUnavailableError: there is no index, and `create` is false.
    """
    from var_plugin.api import open_index

    with open_index(location, suite=suite, create=create) as index:
        yield index


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show one progress bar on stderr for all files of a run. Nothing is shown if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda file, reached: None
        return
    from var_plugin.cli.progress import ProgressBar

    bar = ProgressBar()
    try:
        yield bar
    finally:
        bar.close()


@contextmanager
def rescore_bar() -> Iterator[Callable[[int, int], None] | None]:
    """Show the number of rescored videos on stderr. Nothing is shown if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield None
        return

    def show(done: int, total: int) -> None:
        print(
            f"\rscored again: {done} of {total} videos", end="" if done < total else "\n", file=sys.stderr, flush=True
        )

    yield show


def local_zone() -> tzinfo:
    """Return the time zone of the setting `zone`, or that of this machine."""
    from var_plugin.config import settings

    return settings().zone or datetime.now().astimezone().tzinfo or UTC


def parse_time(text: str | None) -> datetime | None:
    """Parse a clock time in ISO 8601 with a time zone, or a time relative to now, such as `yesterday`.

    Raises:
        InvalidInputError: `text` is not such a time.
    """
    from var_plugin.index.filters import to_epoch_ms

    if text is None:
        return None
    if (relative := _relative_time(text.strip().lower())) is not None:
        return relative
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            f"'{text}' is not a date and time",
            fix="write it as 2026-11-01T14:00+01:00, 'today', 'yesterday' or '3 hours ago'",
        ) from error
    to_epoch_ms(time)
    return time


def _relative_time(text: str) -> datetime | None:
    """Return the time of `now`, of `3 hours ago`, or of the midnight at which `today` or `yesterday` began."""
    now = datetime.now().astimezone()
    midnight = datetime.combine(now.date(), datetime.min.time())
    days = {"today": 0, "yesterday": 1}
    if text == "now":
        return now
    if text in days:
        return (midnight - timedelta(days=days[text])).astimezone()
    match = re.fullmatch(r"(\d{1,6}) (minute|hour|day|week)s? ago", text)
    try:
        return now - timedelta(**{f"{match[2]}s": int(match[1])}) if match else None
    except OverflowError as error:
        raise InvalidInputError(f"'{text}' is not a date and time", why="it is before the year 1") from error


def parse_clock(zone: str | None, offset: float | None) -> CameraClock | None:
    """Return the camera clock of the options --zone and --clock-offset. None: neither is given.

    Raises:
        InvalidInputError: the time zone does not exist, or the offset is not a number of seconds.
    """
    from pydantic import ValidationError

    from var_plugin.config import CameraClock, settings

    if zone is None and offset is None:
        return None
    try:
        return CameraClock.model_validate({"zone": zone or settings().zone, "offset": offset or 0.0})
    except ValidationError as error:
        raise InvalidInputError(
            f"zone {zone} and offset {offset} are not a valid camera clock",
            why=str(field_errors(error, inside=1)[0]),
            fix="use the name of a time zone, such as Europe/Berlin",
        ) from error


def parse_metadata(arguments: Sequence[str] | None) -> dict[str, Scalar]:
    """Parse KEY=VALUE arguments. A value that is a JSON number, boolean or string has that type, others are strings.

    Raises:
        InvalidInputError: an argument has no `=`.
    """
    metadata: dict[str, Scalar] = {}
    for argument in arguments or ():
        key, equals, text = argument.partition("=")
        if not equals:
            raise InvalidInputError(f"'{argument}' is not a metadata entry", fix="write it as KEY=VALUE")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        metadata[key] = value if isinstance(value, str | int | float | bool) else text
    return metadata


def warn_about_unknown_times(index: Index, conditions: Filter) -> None:
    """Warn on stderr if a filter by clock time excludes videos without a recording time."""
    unknown = sum(video.recorded_at is None for video in index.videos())
    if unknown and (conditions.after is not None or conditions.before is not None):
        print(
            f"var-plugin: videos without a known recording time: {unknown}; --after and --before exclude them",
            file=sys.stderr,
        )


def parse_path(text: str) -> Path:
    """Parse the value of an argument or option that is a path.

    Raises:
        typer.BadParameter: `text` is empty, as the value of an unset shell variable is. `Path("")` would be the current
            folder.
    """
    if not text:
        raise typer.BadParameter("the path is empty")
    return Path(text)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout. Characters that the terminal cannot show are escaped."""
    print(json_printable(json.dumps(document, ensure_ascii=False, indent=2), sys.stdout.encoding or "utf-8"))
