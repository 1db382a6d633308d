from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tests.colors import DESCRIPTION
from tests.films import Film, textured
from var_plugin.api import Index, open_index
from var_plugin.encoders.base import Space, Vectors, l2_normalize
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.ingest.retention import prune, size_in_bytes
from var_plugin.watch.rtsp import recordings


class WideImages:
    """Vectors of a thousand dimensions, so that they take space."""

    size = (8, 8)

    def encode(self, images: list[np.ndarray]) -> Vectors:
        flat = np.stack(images).reshape(len(images), -1).astype(np.float32)
        return l2_normalize(flat @ np.random.default_rng(1).normal(size=(flat.shape[1], 1_000)))


def wide_suite() -> Suite:
    space = Space("scene", 1_000, "IP", frozenset({"image", "video"}), "wide-1")
    return Suite(DESCRIPTION, {"scene": SpaceEncoders(space, image=WideImages(), score_statistics={})})


def test_an_index_stays_within_its_quota(tmp_path: Path, film: Film) -> None:
    """Milvus Lite does not free the space of deleted rows. The index is rewritten and keeps the other videos."""
    paths = [
        film(f"{i:02}.mp4", seconds=64, fps=1, paint=lambda time, i=i: textured(100 * i + int(time))) for i in range(9)
    ]
    with open_index(tmp_path / "index.db", suite=wide_suite()) as index:
        assert index.add(paths).ok
        quota = size_in_bytes(index._inner) * 2 // 3
        pruned = index.prune(max_bytes=quota)
        assert pruned.bytes_before > quota >= pruned.bytes_after
        remaining = [video.uri for video in index.videos()]
        assert remaining == [str(path) for path in paths[len(paths) - len(remaining) :]], "the oldest went"
        assert [video.uri for video in pruned.deleted] == [str(path) for path in paths[: len(paths) - len(remaining)]]
        assert len(remaining) >= 3
        assert index.verify().ok
        assert index.prune(max_bytes=quota).deleted == (), "nothing to do"
        assert index.search(image=textured(0), k=3)


def test_a_clock_in_the_future_does_not_prevent_pruning(index: Index, film: Film) -> None:
    """If the recording time is later than the time of addition, the latter counts. Limits can be of any size."""
    ahead = datetime.now(UTC) + timedelta(days=3_650)
    index.add(film(), recorded_at=ahead)
    assert prune(index._inner, keep_days=float("inf"), max_bytes=float("inf")).deleted == ()
    assert prune(index._inner, keep_days=1e12).deleted == ()
    assert prune(index._inner, keep_days=30).deleted == ()
    assert len(prune(index._inner, keep_days=30, now=datetime.now(UTC) + timedelta(days=31)).deleted) == 1


def test_nothing_is_deleted_within_the_quota(index: Index, film: Film) -> None:
    index.add(film())
    assert index.prune(max_bytes=10**9, keep_days=1).deleted == ()
    assert index._inner.generation.number == 1


def test_a_replaced_recording_is_not_deleted_with_its_video(index: Index, film: Film, tmp_path: Path) -> None:
    first, second = (
        film(f"rec/door_2025110{day}T120000Z.mkv", paint=lambda time, day=day: textured(day)) for day in (1, 2)
    )
    assert index.add([first, second]).ok
    content, times = bytearray(first.read_bytes()), first.stat()
    content[-1] ^= 1
    first.write_bytes(content)
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(second)  # touched only
    own = recordings(tmp_path / "rec", "door")
    pruned = prune(index._inner, keep_days=1, recordings=own, now=datetime.now(UTC) + timedelta(days=2))
    assert [video.uri for video in pruned.deleted] == [str(first), str(second)]
    assert (first.read_bytes(), second.exists()) == (content, False)
    (reason,) = pruned.not_deleted
    assert reason.startswith(f"{first} has changed since it was indexed")


def test_recordings_count_to_the_quota_and_are_deleted_with_their_videos(
    index: Index, film: Film, tmp_path: Path
) -> None:
    """Only files of the recorder are counted and deleted, not other files in the folder."""
    now = datetime(2025, 12, 1, tzinfo=UTC)
    paths = [film(f"rec/door_2025110{day}T120000Z.mkv", paint=lambda time, day=day: textured(day)) for day in (1, 2, 3)]
    for path in paths:
        path.write_bytes(path.read_bytes() + bytes(2_000_000))
    stranger, stray = film("rec/holiday.mkv"), film("rec/door_20200101T120000Z.mkv", paint=lambda time: textured(98))
    os.utime(stray, (1.6e9, 1.6e9))
    assert index.add([*paths, stranger]).ok
    own = recordings(tmp_path / "rec", "door")
    assert own == sorted([*paths, stray])
    pruned = prune(index._inner, keep_days=1e4, recordings=own, now=now)
    assert (pruned.deleted, stray.exists()) == ((), True), "nothing is that old"
    # The index itself may take a little less by now: Milvus Lite merges its files in the background.
    pruned = prune(index._inner, max_bytes=pruned.bytes_before - 500_000, recordings=own, now=now)
    assert [video.uri for video in pruned.deleted] == [str(paths[0])]
    assert pruned.bytes_before - pruned.bytes_after > 2_000_000
    assert not paths[0].exists()
    prune(index._inner, keep_days=1000, recordings=own, now=now)
    assert not stray.exists(), "it is old, and no video of the index"
    assert all(path.exists() for path in (*paths[1:], stranger))
