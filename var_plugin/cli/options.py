"""What the commands share: the options that several take, an open index, progress, clock times, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from var_plugin.errors import IndexUnavailableError, InvalidInputError, field_errors
from var_plugin.escaping import json_printable

if TYPE_CHECKING:
    from var_plugin.api import Index
    from var_plugin.config import CameraClock
    from var_plugin.ingest.add import Progress
    from var_plugin.types import Scalar

app = typer.Typer(
    help="Find the moment: index footage, then search it with a sentence, an image or a clip.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

IndexOption = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="PATH_OR_URI",
        help="Where the index lies; a token comes from VAR_PLUGIN_TOKEN. [env: VAR_PLUGIN_INDEX]",
    ),
]
SuiteOption = Annotated[
    str | None,
    typer.Option("--suite", metavar="NAME", help="What embeds footage and queries; default: what made the index."),
]
ZoneOption = Annotated[
    str | None,
    typer.Option("--zone", metavar="NAME", help="Time zone of what the camera says. [env: VAR_PLUGIN_ZONE]"),
]
OffsetOption = Annotated[
    float | None,
    typer.Option("--clock-offset", metavar="SECONDS", help="Added to what the camera says; negative for a fast clock."),
]
MetadataOption = Annotated[
    list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="An own value of a video; may be repeated.")
]
AllowHostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A name that clients use for this server, such as that of a proxy; may be repeated.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@contextmanager
def opened(location: str | None, suite: str | None, *, new: bool = False) -> Iterator[Index]:
    """Open an index for as long as the block lasts.

    Raises:
        IndexUnavailableError: there is none at the local path that was named, and the command makes no new one.
    """
    from var_plugin.api import open_index
    from var_plugin.index.milvus.options import is_local

    if location and not new and is_local(location) and _is_missing(Path(location).expanduser()):
        raise IndexUnavailableError(
            f"there is no index at {location}",
            fix=f"check the spelling of --index, or make it: var-plugin index FOLDER --index {location}",
        )
    index = open_index(location, suite=suite)
    try:
        yield index
    finally:
        index.close()


def _is_missing(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # opening it says why
        return False


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """One bar on stderr over all files of a run; none where stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda file, reached: None
        return
    from var_plugin.cli.progress import ProgressBar

    bar = ProgressBar()
    try:
        yield bar
    finally:
        bar.close()


def clock_time(text: str | None) -> datetime | None:
    """Parse a clock time; `InvalidInputError` unless it is ISO 8601 with a zone."""
    from var_plugin.index.filters import to_epoch_ms

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"'{text}' is not a clock time", fix="write it as 2026-11-01T14:00+01:00") from error
    to_epoch_ms(moment)
    return moment


def camera_clock(zone: str | None, offset: float | None) -> CameraClock | None:
    """Return the clock that the options describe; None where they say nothing.

    Raises:
        InvalidInputError: there is no such time zone, or the offset is no number of seconds.
    """
    from pydantic import ValidationError

    from var_plugin.config import CameraClock, settings

    if zone is None and offset is None:
        return None
    try:
        return CameraClock.model_validate({"zone": zone or settings().zone, "offset": offset or 0.0})
    except ValidationError as error:
        raise InvalidInputError(
            f"no clock has zone {zone} and offset {offset}",
            why=str(field_errors(error, inside=1)[0]),
            fix="name the zone as Europe/Berlin",
        ) from error


def metadata(words: Sequence[str] | None) -> dict[str, Scalar]:
    """Return KEY=VALUE words as metadata; numbers, true and false are what they look like, quoted ones are texts."""
    found: dict[str, Scalar] = {}
    for word in words or ():
        key, equals, text = word.partition("=")
        if not equals:
            raise InvalidInputError(f"'{word}' is no metadata", fix="write it as KEY=VALUE")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        found[key] = value if isinstance(value, str | int | float | bool) else text
    return found


def print_json(document: Any) -> None:
    """Print one document on stdout, every name in it as it is, escaped where the terminal cannot take it."""
    print(json_printable(json.dumps(document, ensure_ascii=False, indent=2), sys.stdout.encoding or "utf-8"))
