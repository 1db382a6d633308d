"""Commands that keep an index in order: verify, re-index, back up, prune."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from var_plugin.cli.index import print_receipt
from var_plugin.cli.options import IndexOption, JsonOption, SuiteOption, app, opened, print_json, progress_bars
from var_plugin.errors import InvalidInputError
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.index.verify import Verification


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
            receipt = library.repair(found, progress=progress)
            if not as_json:
                print_receipt(receipt)
            found = library.verify()
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        for problem in found.problems:
            print(printable(str(problem)))
        rows = ", ".join(f"{count} rows in {space}" for space, count in found.rows.items())
        print(f"{found.videos} videos, {rows}: {'all is well' if found.ok else f'{len(found.problems)} problems'}")
    if not found.ok:
        print(printable(f"var-plugin: {_advice(found, index, library.suite.name, repaired=repair)}"), file=sys.stderr)
    raise typer.Exit(0 if found.ok else 1)


def _advice(found: Verification, index: str | None, suite: str, *, repaired: bool) -> str:
    """Return in one line what to do about the problems."""
    place = f" --index {shlex.quote(index)}" if index else ""
    if not repaired:
        return f"repair the index, with the footage where it was indexed: var-plugin verify --repair{place}"
    video_ids = dict.fromkeys(problem.video_id for problem in found.problems if problem.kind != "orphan")
    if not video_ids:
        return f"make the index anew without the orphaned rows: var-plugin reindex --suite {shlex.quote(suite)}{place}"
    return (
        "bring the footage back where it was indexed and repair again, or delete the videos: "
        f"var-plugin delete {shlex.join(video_ids)}{place}"
    )


@app.command()
def reindex(
    suite: Annotated[str, typer.Option("--suite", metavar="NAME", help="The suite to index with from now on.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the index anew beside the old one, verify it, and switch; a failure leaves the old one."""
    from var_plugin.api import reindex_index

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
    print_json(made.model_dump(mode="json")) if as_json else print(printable(f"{made.videos} videos in {folder}"))


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    index: IndexOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an index from a backup, at a place that has none."""
    from var_plugin.api import restore_index

    made = restore_index(folder, index)
    print_json(made.model_dump(mode="json")) if as_json else print(f"{made.videos} videos restored")


@app.command()
def prune(
    keep_days: Annotated[float | None, typer.Option(help="Delete videos that are older.")] = None,
    quota: Annotated[
        float | None, typer.Option(metavar="GB", help="Then delete the oldest until the index takes no more.")
    ] = None,
    index: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old videos from an index; their files stay. Exit code 1 when only some were deleted."""
    from var_plugin.ingest.retention import IncompletePruneError

    if keep_days is None and quota is None:
        raise InvalidInputError("nothing to prune by", fix="give --keep-days or --quota")
    with opened(index, suite) as library:
        failure = None
        try:
            pruned = library.prune(keep_days=keep_days, max_bytes=None if quota is None else quota * 1e9)
        except IncompletePruneError as error:
            pruned, failure = error.pruned, error
        if as_json:
            print_json(pruned.model_dump(mode="json"))
        else:
            print(
                f"{len(pruned.deleted)} videos deleted, {pruned.bytes_before} bytes before, {pruned.bytes_after} after"
            )
    if failure:
        print(f"var-plugin: not everything was pruned: {printable(str(failure))}", file=sys.stderr)
        raise typer.Exit(1)
