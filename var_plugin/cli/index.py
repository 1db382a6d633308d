"""Commands that index footage and work with its videos and moments: index, search, videos, export, delete."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from var_plugin.cli.options import (
    AfterOption,
    BeforeOption,
    IndexOption,
    JsonOption,
    MetadataOption,
    OffsetOption,
    SuiteOption,
    ZoneOption,
    app,
    example,
    opened_index,
    parse_clock,
    parse_metadata,
    parse_path,
    parse_time,
    print_json,
    progress_bars,
    warn_about_unknown_times,
)
from var_plugin.errors import InvalidInputError, StoreError, VarPluginError, field_errors
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.api import Index
    from var_plugin.ingest.pipeline import Engine
    from var_plugin.types import Filter, Moment, Receipt


@app.command(
    "index",
    epilog=example(
        "index cams/ --index footage.db --zone Europe/Berlin",
        "index gate.mp4 --camera north --recorded-at 2026-11-01T14:00+01:00",
    ),
)
def index_videos(
    paths: Annotated[list[Path], typer.Argument(help="Video files, and folders with video files.", parser=parse_path)],
    location: IndexOption = None,
    suite: SuiteOption = None,
    camera: Annotated[
        str | None, typer.Option(help="Name of the camera. Default: taken from the folder or the file name.")
    ] = None,
    recorded_at: Annotated[
        str | None,
        typer.Option(
            help="Clock time at the start of the video, with time zone, such as 2026-11-01T14:00+01:00. "
            "Default: read from the file name or the container."
        ),
    ] = None,
    zone: ZoneOption = None,
    clock_offset: OffsetOption = None,
    meta: MetadataOption = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to run: in this process, or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of the Ray cluster; 'auto' uses RAY_ADDRESS or a running local cluster. "
            "Default: start a temporary one."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Index videos, and verify what was stored. The receipt lists the outcome of each file."""
    selected_engine = _engine(engine, address)
    with opened_index(location, suite, create=True) as index:
        with progress_bars() as progress:
            receipt = index.add(
                paths,
                camera=camera,
                recorded_at=parse_time(recorded_at),
                clock=parse_clock(zone, clock_offset),
                metadata=parse_metadata(meta),
                progress=progress,
                engine=selected_engine,
            )
        # Print the receipt before anything else can fail.
        if as_json:
            print_json(receipt.model_dump(mode="json"))
        else:
            print_receipt(receipt)
        _warn_if_nearly_full(index)
    raise typer.Exit(receipt.exit_code)


@app.command(
    "search",
    epilog=example(
        'search "a man in a car" --index footage.db -k 3',
        'search "a lion" --camera north --after 2026-11-01T14:00+01:00 --json',
        "search --image bike.jpg --index footage.db",
    ),
)
def search_moments(
    text: Annotated[str | None, typer.Argument(help="Text query.")] = None,
    image: Annotated[Path | None, typer.Option(help="Image query.", metavar="PATH", parser=parse_path)] = None,
    audio: Annotated[Path | None, typer.Option(help="Audio query.", metavar="PATH", parser=parse_path)] = None,
    video: Annotated[Path | None, typer.Option(help="Video query.", metavar="PATH", parser=parse_path)] = None,
    k: Annotated[int, typer.Option("-k", help="Number of moments to return.")] = 5,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only moments with this kind of event, such as fire; may be repeated.")
    ] = None,
    segment_kind: Annotated[
        list[str] | None,
        typer.Option(help="Only segments of this kind: uniform, anomaly, or video (a whole video); may be repeated."),
    ] = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    after_second: Annotated[
        float | None, typer.Option(help="Only segments after this time in their video, in seconds.")
    ] = None,
    before_second: Annotated[
        float | None, typer.Option(help="Only segments before this time in their video, in seconds.")
    ] = None,
    min_anomaly: Annotated[float | None, typer.Option(help="Minimum anomaly score, 0 to 1.")] = None,
    max_anomaly: Annotated[float | None, typer.Option(help="Maximum anomaly score, 0 to 1.")] = None,
    meta: MetadataOption = None,
    rerank: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Reranker or vision-language model that sorts the best moments.")
    ] = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search for moments by text, image, audio or video. The best match comes first."""
    from var_plugin.retrievers.rerank import load_reranker

    conditions = build_filter(
        cameras=camera or None,
        kinds=kind or None,
        segment_kinds=segment_kind or None,
        after=parse_time(after),
        before=parse_time(before),
        after_second=after_second,
        before_second=before_second,
        min_anomaly=min_anomaly,
        max_anomaly=max_anomaly,
        metadata=parse_metadata(meta),
    )
    with opened_index(location, suite) as index:
        moments = index.search(
            text,
            image=image,
            audio=audio,
            video=video,
            k=k,
            filter=conditions,
            rerank=load_reranker(rerank) if rerank else None,
            thumbnails=True,
        )
        if as_json:
            print_json([moment.model_dump(mode="json") for moment in moments])
        else:
            print_moments(index, moments)
        if not moments:
            warn_about_unknown_times(index, conditions)


@app.command("videos", epilog=example("videos --index footage.db --json"))
def list_videos(location: IndexOption = None, suite: SuiteOption = None, as_json: JsonOption = False) -> None:
    """List the videos of an index."""
    from var_plugin.terminal import recording

    with opened_index(location, suite) as index:
        videos = index.videos()
    if as_json:
        print_json([video.model_dump(mode="json") for video in videos])
        return
    for video in videos:
        rows = ", ".join(f"{count} {space}" for space, count in video.rows.items())
        details = f"{video.camera}  {video.duration:.1f} s  {rows}  {recording(video)}"
        print(printable(f"{video.video_id}  {video.state:9}  {details}  {video.uri}"))


@app.command("export", epilog=example("export MOMENT_ID clip.mp4 --index footage.db"))
def export_moment(
    moment: Annotated[str, typer.Argument(help="Id of a moment, from `search --json`.")],
    out: Annotated[
        Path, typer.Argument(help="File to write. Its extension selects the container format.", parser=parse_path)
    ],
    exact: Annotated[
        bool, typer.Option("--exact", help="Re-encode, so that the clip starts and ends exactly; audio becomes mono.")
    ] = False,
    thumbnail: Annotated[
        Path | None,
        typer.Option(help="Also write the thumbnail to this file, as JPEG.", metavar="PATH", parser=parse_path),
    ] = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a moment as a video clip. Without --exact it may start early, at the previous key frame."""
    from var_plugin.media.clips import encode_clip, export_clip
    from var_plugin.media.thumbnails import write_thumbnail

    with opened_index(location, suite) as index:
        stored = index.moment(moment)
        source = index.source(stored.video_id)
        for target in (out, thumbnail):
            if target is not None:
                _check_not_footage(index, target)
    clip = (encode_clip if exact else export_clip)(source, stored.start, stored.end, out)
    if thumbnail:
        write_thumbnail(source, stored.peak, thumbnail)
    if as_json:
        print_json({"path": str(clip.path), "start": clip.start, "end": clip.end, "notes": clip.notes})
    else:
        print(printable(f"{clip.path}: {clip.start:.2f} s to {clip.end:.2f} s of {source}"))
        for note in clip.notes:
            print(f"note: {note}", file=sys.stderr)


def _check_not_footage(index: Index, target: Path) -> None:
    """Raise `InvalidInputError` if a file to write is footage of the index, which must not be replaced."""
    from var_plugin.media.files import canonical_path

    if target.is_file():
        path = canonical_path(target)
        if any(path in video.paths for video in index.videos()):
            raise InvalidInputError(f"{target} is footage of the index", fix="choose another path")


@app.command("delete", epilog=example("delete VIDEO_ID --index footage.db"))
def delete_videos(
    video_ids: Annotated[list[str], typer.Argument(help="Video ids, from `videos`.")],
    location: IndexOption = None,
    suite: SuiteOption = None,
) -> None:
    """Delete videos from an index. The video files stay. The exit code is 1 if only some videos were deleted."""
    with opened_index(location, suite) as index:
        for count, video_id in enumerate(video_ids):
            try:
                index.delete(video_id)
            except VarPluginError as error:
                if count == 0:
                    raise
                print(f"var-plugin: {printable(str(error))}", file=sys.stderr)
                remaining = len(video_ids) - count
                print(f"var-plugin: stopped after {count} videos, {remaining} not deleted", file=sys.stderr)
                raise typer.Exit(1) from error
            print(printable(f"{video_id} deleted"), flush=True)


def build_filter(**conditions: Any) -> Filter:
    """Return a search filter. Conditions that are None are omitted.

    Raises:
        InvalidInputError: a condition is invalid.
    """
    from pydantic import ValidationError

    from var_plugin.types import Filter

    try:
        return Filter.model_validate({name: value for name, value in conditions.items() if value is not None})
    except ValidationError as error:
        raise InvalidInputError(str(field_errors(error)[0]), fix="see var-plugin search --help") from error


def print_receipt(receipt: Receipt) -> None:
    """Print one line per video and a summary."""
    from var_plugin.terminal import recording

    for video in receipt.videos:
        counts = ", ".join(f"{count} {space}" for space, count in video.verified.items())
        parts = [counts, recording(video), video.reason] if video.status == "stored" else [video.reason]
        detail = "; ".join(part for part in parts if part)
        print(printable(f"{video.status:9}  {video.path}  {detail}"))
    if receipt.skipped:
        skipped = ", ".join(f"{count} {name}" for name, count in sorted(receipt.skipped.items()))
        print(printable(f"skipped: {skipped}"))
    stored = [video for video in receipt.videos if video.status == "stored"]
    hours = sum(video.duration or 0.0 for video in stored) / 3600
    rows = sum(sum(video.verified.values()) for video in stored)
    failed = sum(video.status == "failed" for video in receipt.videos)
    rate = f", {rows / hours:.0f} rows per hour" if hours else ""
    total = len(receipt.videos)
    print(f"{len(stored)} stored ({hours * 60:.1f} min, {rows} rows{rate}), {failed} failed, {total} in total")


def _engine(name: str, address: str | None) -> Engine | None:
    """Return the engine that runs the indexing. None: this process.

    Raises:
        InvalidInputError: an address is given without the Ray engine.
    """
    if name == "ray":
        from var_plugin.ingest.ray import RayEngine

        return RayEngine(address)
    if address is not None:
        raise InvalidInputError("--address applies to a Ray cluster only", fix="add --engine ray")
    return None


def _warn_if_nearly_full(index: Index) -> None:
    """Warn on stderr if an embedded index approaches the size at which Milvus Lite becomes slow."""
    from var_plugin.index.milvus.options import MAX_LITE_ROWS, is_local

    try:
        max_rows = max(index.size().values())
    except StoreError as error:  # the videos are stored, and the receipt is printed
        print(f"var-plugin: cannot count the rows of the index: {error}", file=sys.stderr)
        return
    if is_local(index.uri) and max_rows > 0.8 * MAX_LITE_ROWS:
        print(
            f"var-plugin: {max_rows} rows in one space; the embedded Milvus Lite becomes slow near {MAX_LITE_ROWS}: "
            "run a Milvus server and pass its URI with --index",
            file=sys.stderr,
        )


def print_moments(index: Index, moments: Sequence[Moment]) -> None:
    """Print the moments, best first."""
    from var_plugin.terminal import moment_lines

    if not moments:
        print("no moments: the index is empty, or no segment matches the filter")
    elif all(moment.grade == "weak" for moment in moments):
        print("No clear match: none stands out. Closest:")
    for rank, moment in enumerate(moments, start=1):
        print("\n".join(moment_lines(rank, moment, index.segments(moment.video_id))))
