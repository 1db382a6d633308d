"""Commands that keep an index in order: verify, re-index, back up, prune, watch a folder."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from var_plugin.cli.footage import print_receipt
from var_plugin.cli.shared import IndexOption, JsonOption, SuiteOption, app, opened, print_json, progress_bars
from var_plugin.errors import InvalidInputError


@app.command()
def verify(
    index: IndexOption = None,
    suite: SuiteOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is wrong, from the footage.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every row and vector against what the receipts say; exit code 1 when something is wrong."""
    with opened(index, suite) as library, progress_bars() as progress:
        found = library.verify()
        if repair and not found.ok:
            library.repair(found, progress=progress)
            found = library.verify()
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        for problem in found.problems:
            print(problem)
        rows = ", ".join(f"{count} rows in {space}" for space, count in found.rows.items())
        print(f"{found.videos} videos, {rows}: {'all is well' if found.ok else f'{len(found.problems)} problems'}")
    raise typer.Exit(0 if found.ok else 1)


@app.command()
def reindex(
    suite: Annotated[str, typer.Option("--suite", metavar="NAME", help="The suite to index with from now on.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the index anew beside the old one, verify it, and switch; a failure leaves the old one."""
    from var_plugin.library import reindex_index

    with progress_bars() as progress:
        receipt = reindex_index(index, suite, progress=progress)
    if as_json:
        print_json(receipt.model_dump(mode="json"))
    else:
        print_receipt(receipt)
    raise typer.Exit(receipt.exit_code)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all videos of an index, without their footage, to a new folder."""
    with opened(index, suite) as library:
        made = library.backup(folder)
    print_json(made.model_dump(mode="json")) if as_json else print(f"{made.videos} videos in {folder}")


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an index from a backup, at a place that has none."""
    from var_plugin.library import restore_index

    made = restore_index(folder, index)
    print_json(made.model_dump(mode="json")) if as_json else print(f"{made.videos} videos restored")


@app.command()
def prune(
    keep_days: Annotated[float | None, typer.Option(help="Delete videos that are older.")] = None,
    max_gb: Annotated[float | None, typer.Option(help="Then delete the oldest until the index takes no more.")] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old videos from an index; their files stay."""
    if keep_days is None and max_gb is None:
        raise InvalidInputError("nothing to prune by", fix="give --keep-days or --max-gb")
    with opened(index, suite) as library:
        pruned = library.prune(keep_days=keep_days, max_bytes=None if max_gb is None else round(max_gb * 1e9))
    if as_json:
        print_json(pruned.model_dump(mode="json"))
    else:
        print(f"{len(pruned.deleted)} videos deleted, {pruned.bytes_before} bytes before, {pruned.bytes_after} after")


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(help="The folder that the cameras write to.")],
    keep_days: Annotated[float | None, typer.Option(help="Delete videos from the index once they are older.")] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
) -> None:
    """Index a folder's videos and every new one as soon as it is completely written, until Ctrl-C."""
    from var_plugin.ingest.add import camera_name
    from var_plugin.ingest.watch import watch as watch_folder

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with opened(index, suite) as library:

        def add(path: Path) -> None:
            (line,) = library.add(path, camera=camera_name(path, folder)).videos
            print(f"{line.status}: {line.path} {line.reason or ''}".rstrip(), file=sys.stderr, flush=True)

        def clean() -> None:
            library.prune(keep_days=keep_days)

        watch_folder(folder, add, stop=stop, housekeeping=clean if keep_days is not None else None)
