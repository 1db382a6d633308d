"""Reading for answers: from the copy of a local collection while it holds what the store holds, else from the store.

Both give the same rows and the same similarities (a copy is exact, as FLAT is). Writing, counting what was written and
verifying go to the store itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from var_plugin.index.copy import Copy
from var_plugin.index.filters import Conditions, expression
from var_plugin.index.schema import Row
from var_plugin.index.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Reader:
    """Reads the collections of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def renew(self, *collections: str) -> None:
        """Make copies of collections that changed; see `Copies.renew`."""
        if self._store.copies:
            for collection in collections:
                self._store.copies.renew(collection)

    def count(self, collection: str) -> int:
        """Count the rows."""
        copy = self._copy(collection)
        return self._store.count(collection) if copy is None else len(copy)

    def rows(self, collection: str, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every row that matches, in no particular order."""
        rows = self._asked(collection, lambda copy: copy.rows(conditions, fields))
        return self._store.rows(collection, expression(conditions), fields) if rows is None else rows

    def search(
        self,
        collection: str,
        vector: np.ndarray,
        *,
        metric: str,
        limit: int,
        conditions: Conditions,
        fields: Sequence[str],
        videos: int,
    ) -> list[tuple[float, Row]]:
        """Return the best rows with their similarity, best first; `videos` counts for copies, see `Copy`."""
        best = self._asked(
            collection,
            lambda copy: copy.search(
                vector, metric=metric, limit=limit, conditions=conditions, fields=fields, videos=videos
            ),
        )
        if best is not None:
            return best
        return self._store.search(collection, vector, limit=limit, expression=expression(conditions), fields=fields)

    def _asked(self, collection: str, ask: Callable[[Copy], T]) -> T | None:
        """Return what a copy answers; None where there is none, or it is damaged."""
        if (copy := self._copy(collection)) is None or self._store.copies is None:
            return None
        try:
            return ask(copy)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            logger.warning("the copy of %s for searching is damaged and not used: %s", collection, error)
            self._store.copies.distrust(collection)
            return None

    def _copy(self, collection: str) -> Copy | None:
        return self._store.copies.find(collection) if self._store.copies else None
