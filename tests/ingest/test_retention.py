from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.colors import DESCRIPTION
from tests.films import Film, textured
from var_plugin.encoders.base import Space, Vectors, unit
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.ingest.retention import size_in_bytes
from var_plugin.library import Index, open_index


class WidePictures:
    """A thousand random directions of each picture, so that vectors take room."""

    size = (8, 8)

    def encode(self, pictures: list[np.ndarray]) -> Vectors:
        flat = np.stack(pictures).reshape(len(pictures), -1).astype(np.float32)
        return unit(flat @ np.random.default_rng(1).normal(size=(flat.shape[1], 1_000)))


def wide_suite() -> Suite:
    space = Space("scene", 1_000, "IP", frozenset({"image", "video"}), "wide-1")
    return Suite(DESCRIPTION, {"scene": SpaceEncoders(space, picture=WidePictures(), backgrounds={})})


def test_an_index_stays_within_its_quota(tmp_path: Path, film: Film) -> None:
    """Milvus Lite frees nothing when rows are deleted; the index is rewritten, and what is left is found as before."""
    paths = [
        film(f"{i:02}.mp4", seconds=64, fps=1, paint=lambda time, i=i: textured(100 * i + int(time))) for i in range(9)
    ]
    with open_index(tmp_path / "index.db", suite=wide_suite()) as index:
        assert index.add(paths).ok
        quota = size_in_bytes(index) * 2 // 3
        pruned = index.prune(max_bytes=quota)
        assert pruned.bytes_before > quota >= pruned.bytes_after
        left = [video.uri for video in index.videos()]
        assert left == [str(path) for path in paths[len(paths) - len(left) :]], "the oldest went"
        assert [video.uri for video in pruned.deleted] == [str(path) for path in paths[: len(paths) - len(left)]]
        assert len(left) >= 3
        assert index.verify().ok
        assert index.prune(max_bytes=quota).deleted == (), "nothing to do"
        assert index.search(image=textured(0), k=3)


def test_within_the_quota_nothing_is_touched(index: Index, film: Film) -> None:
    index.add(film())
    assert index.prune(max_bytes=10**9, keep_days=1).deleted == ()
    assert index.generation.number == 1
