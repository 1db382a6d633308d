"""Repair the problems that `verify` reports."""

from __future__ import annotations

import logging
from contextlib import suppress

from var_plugin.errors import InvalidInputError, UnknownVideoError
from var_plugin.index.catalog import Entry
from var_plugin.index.index import VideoIndex
from var_plugin.index.verify import Verification
from var_plugin.ingest.pipeline import Progress, RunProgress, last_path, reembed
from var_plugin.types import Receipt, VideoReceipt

logger = logging.getLogger(__name__)


def repair(index: VideoIndex, verification: Verification, progress: Progress | None = None) -> Receipt:
    """Embed damaged videos again from their files, finish interrupted operations, delete orphaned rows.

    A damaged video whose file is missing is not changed and fails in the receipt. A video that was never stored
    completely and whose file is missing is deleted.

    Args:
        index: The index.
        verification: The problems to repair.
        progress: Called while files are processed.

    Returns:
        One receipt per video that was embedded again.
    """
    for problem in verification.problems:
        if problem.kind == "orphan" and problem.space:
            try:
                index.delete_orphans(problem.space, problem.video_id)
            except InvalidInputError as error:  # another program wrote an ID that cannot be used in a filter
                logger.warning("the orphaned rows of a video cannot be deleted; re-index to remove them: %s", error)
    damaged = dict.fromkeys(problem.video_id for problem in verification.problems if problem.kind != "orphan")
    entries = [entry for entry in map(index.entry, damaged) if entry is not None]  # None: deleted since
    if isinstance(progress, RunProgress):
        progress.begin([last_path(entry) for entry in entries])
    return Receipt(videos=tuple(receipt for entry in entries for receipt in _repair(index, entry, progress)))


def _repair(index: VideoIndex, entry: Entry, progress: Progress | None) -> list[VideoReceipt]:
    if entry.state != "deleting":
        receipt = reembed(index, entry, progress)
        if isinstance(progress, RunProgress):
            progress.end(last_path(entry), receipt)
        if receipt.status == "stored" or entry.state == "committed":
            return [receipt]
    with suppress(UnknownVideoError):  # another process may have deleted it first
        index.delete(entry.video_id)
    return []
