"""Copies of a local index's collections, for searching: derived from Milvus Lite's files, thrown away without harm.

A copy is used only while the files it was made from are all there is of its collection (`lite_files`): whoever wrote,
in whatever process, and however that ended. It answers without Milvus Lite being opened at all.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from var_plugin.index import columns, lite_files
from var_plugin.index.copy import Copy
from var_plugin.index.lite_files import Stamp, State
from var_plugin.private_files import exclusive_lock

logger = logging.getLogger(__name__)

# A large collection that changed a moment ago will change again: until it rests, Milvus Lite answers.
_REST_SECONDS = 3.0
_SMALL_BYTES = 16 * 1024 * 1024
_DOCUMENTS = frozenset(("metadata", "body"))


@dataclass(frozen=True)
class _Open:
    stamp: Stamp
    fingerprint: str
    copy: Copy


class Copies:
    """The copies of one Milvus Lite database; may be used by several threads and processes.

    Args:
        database: its folder.
    """

    def __init__(self, database: Path) -> None:
        self._collections = database / "collections"
        self._folder = database / "copies"
        self._places: dict[str, Path] = {}
        self._open: dict[str, _Open] = {}
        self._damaged: dict[str, Stamp] = {}
        self._opening = threading.Lock()

    def find(self, collection: str) -> Copy | None:
        """Return the copy that holds just what the collection holds now; None where there is none."""
        known = self._open.get(collection)
        stamp = lite_files.stamp(self._place(collection))
        if stamp is not None and stamp == self._damaged.get(collection):
            return None
        if known is not None and stamp == known.stamp:
            return known.copy
        if stamp is None:
            return None
        state = lite_files.state(self._place(collection))
        return self._opened(collection, state) if state else None

    def renew(self, collection: str, *, at_once: bool = False) -> None:
        """Make the copy of a collection if there is none of its present state.

        Not where rows wait in Milvus Lite's log, and not while a large one is being written to.

        Args:
            collection: its name.
            at_once: also if it was written to a moment ago.
        """
        if self.find(collection) is not None:
            return
        state = lite_files.state(self._place(collection))
        if state is None or state.stamp == self._damaged.get(collection) or not (at_once or _rests(state)):
            return
        with ExitStack() as held:
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                held.enter_context(exclusive_lock(self._folder / "lock"))
            except OSError as error:  # no room, or no right to write: it stays in memory
                logger.info("the copy of %s for searching is not locked: %s", collection, error)
            # Another process may have made it meanwhile.
            if self._opened(collection, state) is None:
                self._make(collection, state)

    def forget(self, collection: str) -> None:
        """Remove the copy of a collection that is no more."""
        self._open.pop(collection, None)
        self._damaged.pop(collection, None)
        with suppress(OSError):  # it is of no use without the collection
            self._file(collection).unlink(missing_ok=True)

    def _make(self, collection: str, state: State) -> None:
        started = time.perf_counter()
        rows = lite_files.live_rows(state)
        if rows is None:
            return
        made = columns.columns_of(rows.drop_columns(["_seq"]).sort_by("video_id")) if rows.num_rows else {}
        try:
            columns.write(self._file(collection), made, state.fingerprint)
        except OSError as error:
            logger.info("the copy of %s for searching stays in memory: %s", collection, error)
            with self._opening:
                self._open[collection] = _Open(state.stamp, state.fingerprint, Copy(made, _DOCUMENTS))
            return
        logger.info("copied %d rows of %s in %.2f s", rows.num_rows, collection, time.perf_counter() - started)
        self._opened(collection, state)

    def distrust(self, collection: str) -> None:
        """Remove the copy of a collection, which is damaged; answer nothing from one until the collection changes."""
        known = self._open.get(collection)
        if known is not None:
            self.forget(collection)
            self._damaged[collection] = known.stamp

    def _opened(self, collection: str, state: State) -> Copy | None:
        with self._opening:
            known = self._open.get(collection)
            if known is None or known.fingerprint != state.fingerprint:
                held = columns.read(self._file(collection), state.fingerprint)
                if held is None:
                    return None
                known = _Open(state.stamp, state.fingerprint, Copy(held, _DOCUMENTS))
            # The manifest may be written anew without any change of the rows.
            self._open[collection] = _Open(state.stamp, known.fingerprint, known.copy)
            return known.copy

    def _place(self, collection: str) -> Path:
        # Joining paths would be a good part of a query's own time.
        if collection not in self._places:
            self._places[collection] = self._collections / collection
        return self._places[collection]

    def _file(self, collection: str) -> Path:
        return self._folder / f"{collection}.columns"


def _rests(state: State) -> bool:
    return state.bytes < _SMALL_BYTES or time.time_ns() - state.stamp[1] > _REST_SECONDS * 1e9
