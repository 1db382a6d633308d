"""A collection's rows in memory that is mapped from a file: filtered and searched exactly, in NumPy."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.index.columns import Column, Texts
from var_plugin.index.filters import AnyOf, Condition, Conditions
from var_plugin.index.schema import Row

Places = NDArray[np.intp]

# Below this share of the rows it is faster to gather their vectors than to multiply them all.
_GATHERED = 0.3
# From so many rows that stand together on average, each run is multiplied where it stands.
_LONG_RUN = 32
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, listed: value in listed,
    "not in": lambda value, listed: value not in listed,
}


class Copy:
    """The rows of one collection, in order of their videos.

    Args:
        columns: by field; with `video_id`, whose rows stand together. None of them where there is no row.
        documents: fields that hold JSON.
    """

    def __init__(self, columns: Mapping[str, Column], documents: frozenset[str]) -> None:
        self._columns, self._documents = columns, documents

    def __len__(self) -> int:
        return len(self._places("video_id")) if self._columns else 0

    def rows(self, conditions: Conditions, fields: Sequence[str]) -> list[Row]:
        """Return the fields of every row that matches."""
        return self._rows(self._matching(conditions), fields)

    def search(
        self,
        vector: NDArray[np.float32],
        *,
        metric: str,
        limit: int,
        conditions: Conditions,
        fields: Sequence[str],
        videos: int = 0,
    ) -> list[tuple[float, Row]]:
        """Return the best rows with their similarity, best first; exact.

        Args:
            vector: (dim,) the query.
            metric: "IP" or "COSINE".
            limit: so many of all, at least one.
            conditions: all of them must hold.
            fields: of the rows.
            videos: besides those, of each of so many videos with the best rows an equal part of `limit`.
        """
        places = self._matching(conditions)
        if not len(places):
            return []
        scores = self._similarities(vector.astype(np.float32), places, metric)
        best = _best(scores, limit)
        if videos and len(best) < len(scores):
            groups = self._places("video_id")[places]
            best = np.union1d(best, _best_of_each(scores, groups, videos, max(1, limit // videos)))
        best = best[np.argsort(-scores[best], kind="stable")]
        return list(zip(scores[best].tolist(), self._rows(places[best], fields), strict=True))

    def _similarities(self, vector: NDArray[np.float32], places: Places, metric: str) -> NDArray[np.float32]:
        vectors = self._array("vector")
        every = len(places) == len(vectors)
        if every or len(places) > _GATHERED * len(vectors):
            found = vectors @ vector
            found = found if every else found[places]
        else:
            found = _products(vectors, places, vector)
        if metric == "COSINE":
            lengths = np.linalg.norm(vectors[places], axis=1) * np.linalg.norm(vector)
            found = found / np.maximum(lengths, np.finfo(np.float32).tiny)
        return np.asarray(found, np.float32)

    def _matching(self, conditions: Conditions) -> Places:
        return np.flatnonzero(self._mask(conditions))

    def _mask(self, conditions: Conditions) -> NDArray[np.bool_]:
        mask = np.ones(len(self), bool)
        for condition in conditions if self._columns else ():
            if isinstance(condition, AnyOf):
                mask &= np.logical_or.reduce([self._mask(group) for group in condition.groups])
            else:
                mask &= self._test(condition)
        return mask

    def _test(self, condition: Condition) -> NDArray[np.bool_]:
        column, compare = self._columns[condition.field], _COMPARE[condition.operator]
        if not isinstance(column, Texts):
            return np.asarray(compare(column, condition.value), bool)
        wanted = frozenset(condition.value) if isinstance(condition.value, tuple) else condition.value
        if condition.key is None:
            held = [bool(compare(text, wanted)) for text in column.distinct]
        else:
            held = [_holds(json.loads(text), condition.key, wanted, compare) for text in column.distinct]
        return np.array(held, bool)[column.places]

    def _rows(self, places: Places, fields: Sequence[str]) -> list[Row]:
        values = [self._values(field, places) for field in fields] if self._columns else []
        return [dict(zip(fields, row, strict=True)) for row in zip(*values, strict=True)]

    def _values(self, field: str, places: Places) -> list[Any]:
        column = self._columns[field]
        if not isinstance(column, Texts):
            return list(column[places]) if column.ndim > 1 else list(column[places].tolist())
        texts = [column.distinct[place] for place in column.places[places].tolist()]
        return [json.loads(text) for text in texts] if field in self._documents else texts

    def _places(self, field: str) -> NDArray[np.int32]:
        column = self._columns[field]
        if not isinstance(column, Texts):
            raise TypeError(f"'{field}' holds no texts")
        return column.places

    def _array(self, field: str) -> NDArray[Any]:
        column = self._columns[field]
        if isinstance(column, Texts):
            raise TypeError(f"'{field}' holds texts")
        return column


def _holds(document: Any, key: str, wanted: Any, compare: Callable[[Any, Any], Any]) -> bool:
    """What is not there, or is of another kind than what is asked for, satisfies nothing."""
    held = document.get(key) if isinstance(document, dict) else None
    comparable = held is not None and isinstance(held, str) == isinstance(wanted, str)
    return comparable and bool(compare(held, wanted))


def _products(vectors: NDArray[np.float32], places: Places, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner products of some of the vectors (n, dim) with one."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    if len(breaks) * _LONG_RUN > len(places):
        return np.asarray(vectors[places] @ vector)
    # Whole videos stand together: nothing needs to be gathered.
    return np.concatenate([vectors[run[0] : run[-1] + 1] @ vector for run in np.split(places, breaks)])


def _best(scores: NDArray[np.float32], limit: int) -> Places:
    """Return the places of the highest scores, in no order."""
    if limit >= len(scores):
        return np.arange(len(scores))
    return np.argpartition(-scores, limit)[:limit]


def _best_of_each(scores: NDArray[np.float32], groups: NDArray[np.int32], most: int, each: int) -> Places:
    """Return the places of the `each` best in each of the `most` best groups, whose members stand together."""
    starts = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    ends = np.append(starts[1:], len(groups))
    chosen = _best(np.maximum.reduceat(scores, starts), most)
    return np.concatenate([starts[group] + _best(scores[starts[group] : ends[group]], each) for group in chosen])
