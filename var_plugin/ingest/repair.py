"""Mending what `verify` finds."""

from __future__ import annotations

import logging
from contextlib import suppress

from var_plugin.errors import InvalidInputError, UnknownVideoError
from var_plugin.index.catalog import Entry
from var_plugin.index.index import VideoIndex
from var_plugin.index.verify import Verification
from var_plugin.ingest.pipeline import Progress, RunProgress, last_path, store_again
from var_plugin.types import Receipt, VideoReceipt

logger = logging.getLogger(__name__)


def repair(index: VideoIndex, found: Verification, progress: Progress | None = None) -> Receipt:
    """Embed damaged videos anew from their files, end what was interrupted, delete rows that belong to no video.

    A damaged video whose file is gone stays as it is, as a failure in the receipt; deleting it is the owner's choice.
    One that was never stored in full and whose file is gone is deleted.

    Returns:
        One line per video embedded anew.
    """
    for problem in found.problems:
        if problem.kind == "orphan" and problem.space:
            try:
                index.delete_orphans(problem.space, problem.video_id)
            except InvalidInputError as error:  # an id that no filter takes, written by another program
                logger.warning("the orphaned rows of a video stay; re-index to remove them: %s", error)
    damaged = dict.fromkeys(problem.video_id for problem in found.problems if problem.kind != "orphan")
    entries = [entry for entry in map(index.entry, damaged) if entry is not None]  # None: deleted meanwhile
    if isinstance(progress, RunProgress):
        progress.begin([last_path(entry) for entry in entries])
    return Receipt(videos=tuple(line for entry in entries for line in _mend(index, entry, progress)))


def _mend(index: VideoIndex, entry: Entry, progress: Progress | None) -> list[VideoReceipt]:
    if entry.state != "deleting":
        line = store_again(index, entry, progress)
        if isinstance(progress, RunProgress):
            progress.end(last_path(entry), line)
        if line.status == "stored" or entry.state == "committed":
            return [line]
    with suppress(UnknownVideoError):  # whoever began it may have been faster
        index.delete(entry.video_id)
    return []
