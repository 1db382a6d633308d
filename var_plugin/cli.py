"""The command line: parses, calls the library, prints. Results go to stdout, progress and errors to stderr.

With `--json` stdout is one JSON document. The exit code is 0 only when everything asked for was done; errors have a
code each (`var_plugin.errors`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from var_plugin.errors import BrokenInstallationError, InvalidInputError, VarPluginError

if TYPE_CHECKING:
    from var_plugin.ingest.add import Progress
    from var_plugin.library import Index
    from var_plugin.types import Filter, Moment, Receipt

app = typer.Typer(
    help="Find the moment: index footage, then search it with a sentence, a picture or a clip.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

IndexOption = Annotated[
    str | None, typer.Option("--index", metavar="PATH_OR_URI", help="Where the index lies. [env: VAR_PLUGIN_INDEX]")
]
SuiteOption = Annotated[
    str | None, typer.Option("--suite", metavar="NAME", help="What embeds footage and queries. [env: VAR_PLUGIN_SUITE]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def main() -> None:
    """Run the command line; a known error is one line on stderr and an exit code of its own."""
    try:
        app()
    except VarPluginError as error:
        print(f"var-plugin: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(help="Video files and folders of them.")],
    index: IndexOption = None,
    suite: SuiteOption = None,
    camera: Annotated[str | None, typer.Option(help="Name of the camera; else taken from folder or file.")] = None,
    recorded_at: Annotated[
        str | None, typer.Option(help="Clock time at the start, with zone: 2026-11-01T14:00+01:00.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Index videos: embed, store, count again."""
    with _opened(index, suite) as opened, _progress_bars() as progress:
        receipt = opened.add(paths, camera=camera, recorded_at=_clock(recorded_at), progress=progress)
        _warn_near_the_ceiling(opened)
    if as_json:
        _print_json(receipt.model_dump(mode="json"))
    else:
        _print_receipt(receipt)
    raise typer.Exit(receipt.exit_code)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture of what to look for.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A recording of what to listen for.")] = None,
    video: Annotated[Path | None, typer.Option(help="A clip of what to look for.")] = None,
    k: Annotated[int, typer.Option("-k", help="So many moments.")] = 5,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    after: Annotated[str | None, typer.Option(help="Only what was recorded from this time on, with zone.")] = None,
    before: Annotated[str | None, typer.Option(help="Only what was recorded before this time, with zone.")] = None,
    min_anomaly: Annotated[float | None, typer.Option(help="Only segments at least this unusual, 0 to 1.")] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the moments that fit, best first."""
    wanted = _filter(camera, after, before, min_anomaly)
    with _opened(index, suite) as opened:
        moments = opened.search(text, image=image, audio=audio, video=video, k=k, filter=wanted, thumbnails=True)
        if as_json:
            _print_json([moment.model_dump(mode="json") for moment in moments])
        else:
            _print_moments(opened, moments)


@app.command()
def videos(index: IndexOption = None, suite: SuiteOption = None, as_json: JsonOption = False) -> None:
    """List the videos of an index."""
    with _opened(index, suite) as opened:
        listed = opened.videos()
    if as_json:
        _print_json([video.model_dump(mode="json") for video in listed])
        return
    for video in listed:
        rows = ", ".join(f"{count} {space}" for space, count in video.rows.items())
        print(f"{video.video_id}  {video.state:9}  {video.camera}  {video.duration:.1f} s  {rows}  {video.uri}")


@app.command()
def delete(
    video_ids: Annotated[list[str], typer.Argument(help="Ids as `videos` lists them.")],
    index: IndexOption = None,
    suite: SuiteOption = None,
) -> None:
    """Delete videos from an index; their files stay."""
    with _opened(index, suite) as opened:
        for video_id in video_ids:
            opened.delete(video_id)


@app.command()
def suites(as_json: JsonOption = False) -> None:
    """List the suites: what each takes, weighs and permits."""
    from dataclasses import asdict

    from var_plugin.encoders.suites import descriptions

    listed = descriptions().values()
    if as_json:
        _print_json([asdict(description) for description in listed])
        return
    for suite in listed:
        print(f"{suite.name}: {suite.summary}")
        for space, modalities in suite.spaces.items():
            print(f"  space {space}: {', '.join(modalities)}")
        network = "needs the network once" if suite.needs_network else "needs no network"
        print(f"  {suite.megabytes} MB, {network}, languages: {', '.join(suite.languages)}")
        print(f"  licence of the code: {suite.code_licence}; of the weights: {suite.weights_licence}")


@app.command()
def encode(
    modality: Annotated[Literal["text", "image", "audio", "video"], typer.Argument(help="What the items are.")],
    items: Annotated[list[str], typer.Argument(help="Sentences, or files.")],
    space: Annotated[str | None, typer.Option(help="Space of the vectors, where several take the modality.")] = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the vectors that a store would hold, one line each, or as JSON."""
    from var_plugin.encoders.suites import load_suite
    from var_plugin.settings import settings

    chosen = load_suite(suite or settings().suite)
    vectors = chosen.encode(modality, items, space=space).tolist()
    if as_json:
        _print_json([{"item": item, "vector": vector} for item, vector in zip(items, vectors, strict=True)])
    else:
        for vector in vectors:
            print(" ".join(f"{value:.6f}" for value in vector))


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the footage and its index go.")] = Path("demo-footage"),
    as_json: JsonOption = False,
) -> None:
    """Compose demo footage, index it, ask ten questions and show what is found."""
    from var_plugin.demo.run import run_demo

    stream = sys.stderr if as_json else sys.stdout
    with _progress_bars() as progress:
        outcome = run_demo(folder, say=lambda line: print(line, file=stream), progress=progress)
    if as_json:
        _print_json(outcome.model_dump(mode="json"))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check that the installed packages work together; print the command that mends what does not."""
    from dataclasses import asdict

    from var_plugin.doctor import diagnose

    findings = diagnose()
    if as_json:
        _print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{'broken' if finding.problem else 'ok':6}  {finding.package} {finding.version}")
            if finding.problem:
                print(f"        {finding.problem}\n        mend it with: {finding.fix}")
    broken = [finding.package for finding in findings if finding.problem]
    if broken:
        first = next(finding for finding in findings if finding.problem)
        raise BrokenInstallationError(f"{', '.join(broken)} cannot be used", why=first.problem, fix=first.fix)


@contextmanager
def _opened(location: str | None, suite: str | None) -> Iterator[Index]:
    from var_plugin.library import open_index

    index = open_index(location, suite=suite)
    try:
        yield index
    finally:
        index.close()


@contextmanager
def _progress_bars() -> Iterator[Progress]:
    """One bar per file on stderr, in seconds of video; none where stderr is not a terminal."""
    from tqdm import tqdm

    from var_plugin.media.container import probe

    bar: tqdm[Any] | None = None
    current: Path | None = None

    def show(file: Path, reached: float) -> None:
        nonlocal bar, current
        if file != current:
            if bar is not None:
                bar.close()
            declared = probe(file).duration
            bar = tqdm(total=declared and round(declared), desc=file.name, unit="s", file=sys.stderr, disable=None)
            current = file
        if bar is not None:
            bar.update(round(reached) - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _warn_near_the_ceiling(index: Index) -> None:
    """Say in time that the embedded store is not made for more."""
    from var_plugin.index.location import LITE_CEILING, is_local

    most = max(index.size().values())
    if is_local(index.uri) and most > 0.8 * LITE_CEILING:
        print(
            f"var-plugin: {most} rows in one space; the embedded Milvus Lite gets slow near {LITE_CEILING}: "
            "run a Milvus server and name its URI with --index",
            file=sys.stderr,
        )


def _filter(cameras: Sequence[str] | None, after: str | None, before: str | None, min_anomaly: float | None) -> Filter:
    from pydantic import ValidationError

    from var_plugin.types import Filter

    try:
        return Filter(
            cameras=tuple(cameras) if cameras else None,
            after=_clock(after),
            before=_clock(before),
            min_anomaly=min_anomaly,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInputError(f"{first['loc'][0]}: {first['msg']}", fix="see var-plugin search --help") from error


def _clock(text: str | None) -> datetime | None:
    from var_plugin.index.filters import milliseconds

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(f"'{text}' is not a clock time", fix="write it as 2026-11-01T14:00+01:00") from error
    milliseconds(moment)
    return moment


def _print_receipt(receipt: Receipt) -> None:
    for video in receipt.videos:
        counts = ", ".join(f"{count} {space}" for space, count in video.verified.items())
        detail = counts if video.status == "stored" else video.reason
        print(f"{video.status:9}  {video.path}  {detail}")
    stored = [video for video in receipt.videos if video.status == "stored"]
    hours = sum(video.duration or 0.0 for video in stored) / 3600
    rows = sum(sum(video.verified.values()) for video in stored)
    failed = sum(video.status == "failed" for video in receipt.videos)
    rate = f", {rows / hours:.0f} rows per hour" if hours else ""
    print(
        f"{len(stored)} stored ({hours * 60:.1f} min, {rows} rows{rate}), {failed} failed, {len(receipt.videos)} in all"
    )


def _print_moments(index: Index, moments: Sequence[Moment]) -> None:
    from var_plugin.terminal import moment_lines

    if not moments:
        print("nothing found: the index is empty, or no segment satisfies the filter")
    for rank, moment in enumerate(moments, start=1):
        print("\n".join(moment_lines(rank, moment, index.segments(moment.video_id))))


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))
