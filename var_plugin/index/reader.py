"""Reading for answers: from the copy of a local collection while it holds what the store holds, else from the store.

Both give the same rows and the same similarities (a copy is exact, as FLAT is). Writing, counting what was written and
verifying go to the store itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from var_plugin.index.copy import Copy
from var_plugin.index.filters import Conditions, expression
from var_plugin.index.schema import Row
from var_plugin.index.store import Store


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
        copy = self._copy(collection)
        if copy is None:
            return self._store.rows(collection, expression(conditions), fields)
        return copy.rows(conditions, fields)

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
        copy = self._copy(collection)
        if copy is None:
            wanted = expression(conditions)
            return self._store.search(collection, vector, limit=limit, expression=wanted, fields=fields)
        return copy.search(vector, metric=metric, limit=limit, conditions=conditions, fields=fields, videos=videos)

    def _copy(self, collection: str) -> Copy | None:
        return self._store.copies.find(collection) if self._store.copies else None
