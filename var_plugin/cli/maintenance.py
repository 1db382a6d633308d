"""Commands that maintain an index: verify, reindex, backup, restore, prune."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_plugin.cli.index import print_receipt
from var_plugin.cli.options import (
    IndexOption,
    JsonOption,
    SuiteOption,
    app,
    example,
    opened_index,
    parse_path,
    print_json,
    progress_bars,
)
from var_plugin.errors import InvalidInputError
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.index.verify import Verification


@app.command(epilog=example("verify --index footage.db", "verify --repair --index footage.db"))
def verify(
    location: IndexOption = None,
    suite: SuiteOption = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair the problems. This needs the original video files.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check all rows and vectors of an index. The exit code is 1 if they differ from the catalog."""
    with opened_index(location, suite) as index, progress_bars() as progress:
        verification = index.verify()
        if repair and not verification.ok:
            receipt = index.repair(verification, progress=progress)
            if not as_json:
                print_receipt(receipt)
            verification = index.verify()
    if as_json:
        print_json(verification.model_dump(mode="json"))
    else:
        for problem in verification.problems:
            print(printable(str(problem)))
        rows = ", ".join(f"{count} rows in {space}" for space, count in verification.rows.items())
        result = "no problems" if verification.ok else f"{len(verification.problems)} problems"
        print(f"{verification.videos} videos, {rows}: {result}")
    if not verification.ok:
        advice = _advice(verification, location, index.suite.name, is_repaired=repair)
        print(printable(f"var-plugin: {advice}"), file=sys.stderr)
    raise typer.Exit(0 if verification.ok else 1)


def _advice(verification: Verification, location: str | None, suite: str, *, is_repaired: bool) -> str:
    """Return one line that says how to solve the problems."""
    option = f" --index {shlex.quote(location)}" if location else ""
    if not is_repaired:
        return f"to repair the index from the original video files: var-plugin verify --repair{option}"
    video_ids = dict.fromkeys(problem.video_id for problem in verification.problems if problem.kind != "orphan")
    if not video_ids:
        return (
            f"to rebuild the index without the orphaned rows: var-plugin reindex --suite {shlex.quote(suite)}{option}"
        )
    return (
        "restore the video files to their original paths and repair again, or delete the videos: "
        f"var-plugin delete {shlex.join(video_ids)}{option}"
    )


@app.command(epilog=example("reindex --suite siglip2 --index footage.db"))
def reindex(
    suite: Annotated[str, typer.Option("--suite", metavar="NAME", help="Suite of the new index.")],
    location: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an index again with a suite. The old index stays in use until the new one is verified."""
    from var_plugin.api import reindex_index

    with progress_bars() as progress:
        receipt = reindex_index(location, suite, progress=progress)
    if receipt.ok:
        _note_lost_examples(location, suite)
    if as_json:
        print_json(receipt.model_dump(mode="json"))
    else:
        print_receipt(receipt)
    raise typer.Exit(receipt.exit_code)


def _note_lost_examples(location: str | None, suite: str) -> None:
    """Print how many of the owner's moments have no effect with the suite of the index."""
    from var_plugin.ingest.scoring import is_of_suite

    with opened_index(location, suite) as index:
        lost = sum(not is_of_suite(marked, index.suite) for marked in index.examples())
    if lost:
        print(
            f"note: {lost} of the moments that were marked as normal or as an alarm have no effect with this suite; "
            "list them: var-plugin anomalies list",
            file=sys.stderr,
        )


@app.command(epilog=example("backup saved-index/ --index footage.db"))
def backup(
    folder: Annotated[Path, typer.Argument(help="Folder to create. It must not exist yet.", parser=parse_path)],
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a backup of an index to a new folder. It contains the catalog and the vectors, not the video files."""
    with opened_index(location, suite) as index:
        result = index.backup(folder)
    print_json(result.model_dump(mode="json")) if as_json else print(printable(f"{result.videos} videos in {folder}"))


@app.command(epilog=example("restore saved-index/ --index restored.db"))
def restore(
    folder: Annotated[Path, typer.Argument(help="Folder that `backup` wrote.", parser=parse_path)],
    location: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an index from a backup. There must be no index at the location yet."""
    from var_plugin.api import restore_index

    result = restore_index(folder, location)
    print_json(result.model_dump(mode="json")) if as_json else print(f"{result.videos} videos restored")


@app.command(epilog=example("prune --keep-days 30 --quota 50 --index footage.db"))
def prune(
    keep_days: Annotated[float | None, typer.Option(help="Delete videos older than this number of days.")] = None,
    quota: Annotated[
        float | None,
        typer.Option(metavar="GB", help="Delete the oldest videos until the index is no larger than this."),
    ] = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old videos from an index. The video files stay. The exit code is 1 if only some were deleted."""
    from var_plugin.ingest.retention import IncompletePruneError

    if keep_days is None and quota is None:
        raise InvalidInputError("no condition to prune by", fix="pass --keep-days or --quota")
    with opened_index(location, suite) as index:
        failure = None
        try:
            pruned = index.prune(keep_days=keep_days, max_bytes=None if quota is None else quota * 1e9)
        except IncompletePruneError as error:
            pruned, failure = error.pruned, error
        if as_json:
            print_json(pruned.model_dump(mode="json"))
        else:
            sizes = f"{pruned.bytes_before} bytes before, {pruned.bytes_after} bytes after"
            print(f"{len(pruned.deleted)} videos deleted, {sizes}")
    if failure:
        print(f"var-plugin: pruning is incomplete: {printable(str(failure))}", file=sys.stderr)
        raise typer.Exit(1)
