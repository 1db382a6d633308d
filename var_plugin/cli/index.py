"""Commands for footage: index it, search it, list it, delete it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from var_plugin.cli.options import (
    IndexOption,
    JsonOption,
    MetadataOption,
    OffsetOption,
    SuiteOption,
    ZoneOption,
    app,
    camera_clock,
    clock_time,
    metadata,
    opened,
    print_json,
    progress_bars,
)
from var_plugin.errors import InvalidInputError, StoreError, VarPluginError, field_errors
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.api import Index
    from var_plugin.ingest.pipeline import Engine
    from var_plugin.types import Filter, Moment, Receipt


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Video files and folders of them.")],
    index: IndexOption = None,
    suite: SuiteOption = None,
    camera: Annotated[str | None, typer.Option(help="Name of the camera; else taken from folder or file.")] = None,
    recorded_at: Annotated[
        str | None,
        typer.Option(help="Clock time at the start of one file, with zone: 2026-11-01T14:00+01:00; else derived."),
    ] = None,
    zone: ZoneOption = None,
    clock_offset: OffsetOption = None,
    meta: MetadataOption = None,
    engine: Annotated[
        Literal["here", "ray"], typer.Option(help="What does the work: this process, or a Ray cluster.")
    ] = "here",
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of the Ray cluster; `auto`: that of RAY_ADDRESS or a local one. Default: start one."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Index videos: embed, store, count again."""
    chosen = _engine(engine, address)
    with opened(index, suite, new=True) as library:
        with progress_bars() as progress:
            receipt = library.add(
                paths,
                camera=camera,
                recorded_at=clock_time(recorded_at),
                clock=camera_clock(zone, clock_offset),
                metadata=metadata(meta),
                progress=progress,
                engine=chosen,
            )
        # At once: whatever fails from here on, what was done is printed.
        if as_json:
            print_json(receipt.model_dump(mode="json"))
        else:
            print_receipt(receipt)
        _warn_near_the_ceiling(library)
    raise typer.Exit(receipt.exit_code)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image of what to look for.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A recording of what to listen for.")] = None,
    video: Annotated[Path | None, typer.Option(help="A clip of what to look for.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of moments to return.")] = 5,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only segments of this kind: uniform, anomaly, or video for whole ones; may be repeated."),
    ] = None,
    after: Annotated[str | None, typer.Option(help="Only segments that end after this clock time, with zone.")] = None,
    before: Annotated[
        str | None, typer.Option(help="Only segments that begin before this clock time, with zone.")
    ] = None,
    after_second: Annotated[float | None, typer.Option(help="Only what lies after this second of its video.")] = None,
    before_second: Annotated[float | None, typer.Option(help="Only what lies before this second of its video.")] = None,
    min_anomaly: Annotated[float | None, typer.Option(help="Only segments at least this unusual, 0 to 1.")] = None,
    max_anomaly: Annotated[float | None, typer.Option(help="Only segments at most this unusual, 0 to 1.")] = None,
    meta: MetadataOption = None,
    rerank: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A vision-language model that looks at the best once more.")
    ] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the moments that fit, best first."""
    from var_plugin.retrievers.rerank import VisionLanguageReranker

    wanted = search_filter(
        cameras=camera or None,
        kinds=kind or None,
        after=clock_time(after),
        before=clock_time(before),
        after_second=after_second,
        before_second=before_second,
        min_anomaly=min_anomaly,
        max_anomaly=max_anomaly,
        metadata=metadata(meta),
    )
    with opened(index, suite) as library:
        moments = library.search(
            text,
            image=image,
            audio=audio,
            video=video,
            k=k,
            filter=wanted,
            rerank=VisionLanguageReranker(rerank) if rerank else None,
            thumbnails=True,
        )
        if as_json:
            print_json([moment.model_dump(mode="json") for moment in moments])
        else:
            _print_moments(library, moments)


@app.command()
def videos(index: IndexOption = None, suite: SuiteOption = None, as_json: JsonOption = False) -> None:
    """List the videos of an index."""
    from var_plugin.terminal import recording

    with opened(index, suite) as library:
        listed = library.videos()
    if as_json:
        print_json([video.model_dump(mode="json") for video in listed])
        return
    for video in listed:
        rows = ", ".join(f"{count} {space}" for space, count in video.rows.items())
        about = f"{video.camera}  {video.duration:.1f} s  {rows}  {recording(video)}"
        print(printable(f"{video.video_id}  {video.state:9}  {about}  {video.uri}"))


@app.command()
def export(
    moment: Annotated[str, typer.Argument(help="Id of a moment, as `search --json` prints it.")],
    out: Annotated[Path, typer.Argument(help="The clip to write; its ending chooses the container.")],
    exact: Annotated[
        bool, typer.Option("--exact", help="Encode it anew, so that it begins and ends exactly there; sound in mono.")
    ] = False,
    thumbnail: Annotated[Path | None, typer.Option(help="Write its image to this file as well, as JPEG.")] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a moment as a clip, its packets copied; it may begin a little early, at a key frame."""
    from var_plugin.media.clips import encode_clip, export_clip, write_thumbnail
    from var_plugin.retrievers.moments import most_anomalous, parse_moment_id

    video_id, start, end = parse_moment_id(moment)
    with opened(index, suite) as library:
        source = library.source(video_id)
        shown = most_anomalous(library.segments(video_id), start, end)
    clip = (encode_clip if exact else export_clip)(source, start, end, out)
    if thumbnail:
        write_thumbnail(source, shown.key if shown else start, thumbnail)
    if as_json:
        print_json({"path": str(clip.path), "start": clip.start, "end": clip.end, "notes": clip.notes})
    else:
        print(printable(f"{clip.path}: {clip.start:.2f} s to {clip.end:.2f} s of {source}"))
        for note in clip.notes:
            print(f"note: {note}", file=sys.stderr)


@app.command()
def delete(
    video_ids: Annotated[list[str], typer.Argument(help="Ids as `videos` lists them.")],
    index: IndexOption = None,
    suite: SuiteOption = None,
) -> None:
    """Delete videos from an index; their files stay. Exit code 1 when only some of several were deleted."""
    with opened(index, suite) as library:
        for count, video_id in enumerate(video_ids):
            try:
                library.delete(video_id)
            except VarPluginError as error:
                if count == 0:
                    raise
                print(f"var-plugin: {printable(str(error))}", file=sys.stderr)
                remaining = len(video_ids) - count
                print(f"var-plugin: stopped after {count} videos, {remaining} not deleted", file=sys.stderr)
                raise typer.Exit(1) from error
            print(printable(f"{video_id} deleted"), flush=True)


def _engine(name: str, address: str | None) -> Engine | None:
    """Return what does the work; None for this process.

    Raises:
        InvalidInputError: an address without the engine that has one.
    """
    if name == "ray":
        from var_plugin.ingest.ray import RayEngine

        return RayEngine(address)
    if address is not None:
        raise InvalidInputError("only a Ray cluster has an address", fix="add --engine ray")
    return None


def _warn_near_the_ceiling(index: Index) -> None:
    """Say in time that the embedded store is not made for more."""
    from var_plugin.index.milvus.options import MAX_LITE_ROWS, is_local

    try:
        most = max(index.size().values())
    except StoreError as error:  # what was asked for is done, and printed
        print(f"var-plugin: the rows were not counted once more: {error}", file=sys.stderr)
        return
    if is_local(index.uri) and most > 0.8 * MAX_LITE_ROWS:
        print(
            f"var-plugin: {most} rows in one space; the embedded Milvus Lite gets slow near {MAX_LITE_ROWS}: "
            "run a Milvus server and name its URI with --index",
            file=sys.stderr,
        )


def search_filter(**wanted: Any) -> Filter:
    """Return the filter of the options that say something; `InvalidInputError` where they make none."""
    from pydantic import ValidationError

    from var_plugin.types import Filter

    try:
        return Filter.model_validate({name: value for name, value in wanted.items() if value is not None})
    except ValidationError as error:
        raise InvalidInputError(str(field_errors(error)[0]), fix="see var-plugin search --help") from error


def print_receipt(receipt: Receipt) -> None:
    """Print a line for each file, and the sums."""
    from var_plugin.terminal import recording

    for video in receipt.videos:
        counts = ", ".join(f"{count} {space}" for space, count in video.verified.items())
        said = [counts, recording(video), video.reason] if video.status == "stored" else [video.reason]
        detail = "; ".join(text for text in said if text)
        print(printable(f"{video.status:9}  {video.path}  {detail}"))
    if receipt.skipped:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(receipt.skipped.items()))
        print(printable(f"passed over: {listed}"))
    stored = [video for video in receipt.videos if video.status == "stored"]
    hours = sum(video.duration or 0.0 for video in stored) / 3600
    rows = sum(sum(video.verified.values()) for video in stored)
    failed = sum(video.status == "failed" for video in receipt.videos)
    rate = f", {rows / hours:.0f} rows per hour" if hours else ""
    print(
        f"{len(stored)} stored ({hours * 60:.1f} min, {rows} rows{rate}), {failed} failed, {len(receipt.videos)} in all"
    )


def _print_moments(index: Index, moments: Sequence[Moment]) -> None:
    from var_plugin.config import settings
    from var_plugin.retrievers.moments import is_below_threshold
    from var_plugin.terminal import moment_lines

    if not moments:
        print("nothing found: the index is empty, or no segment satisfies the filter")
    elif all(is_below_threshold(moment) for moment in moments):
        print(f"nothing like that here, says the confidence (below {settings().min_confidence:.0%}); the nearest:")
    for rank, moment in enumerate(moments, start=1):
        print("\n".join(moment_lines(rank, moment, index.segments(moment.video_id))))
