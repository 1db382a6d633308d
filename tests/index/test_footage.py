"""Footage is opened again only if it has not changed since it was indexed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.films import Film, textured
from tests.ingest.test_add import scene
from var_plugin.api import Index
from var_plugin.errors import ChangedMediaError, MediaNotFoundError
from var_plugin.index import footage
from var_plugin.index.catalog import Entry
from var_plugin.index.footage import check_footage, find_footage
from var_plugin.tools.moments import GET_MOMENT, SIMILAR_MOMENTS, MomentArguments, SimilarArguments


@pytest.fixture
def path(index: Index, film: Film) -> Path:
    path = film("north.mp4", seconds=8, fps=4, paint=scene("red"))
    index.add(path)
    return path


def entry(index: Index) -> Entry:
    (only,) = index._inner.all_entries()
    return only


def test_unchanged_footage_is_found_without_reading_it(
    index: Index, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footage, "content_hash", lambda path: pytest.fail("it is read"))
    assert find_footage(entry(index)) == path


def test_footage_with_a_new_mtime_is_unchanged(index: Index, path: Path) -> None:
    os.utime(path, (1e9, 1e9))
    assert find_footage(entry(index)) == path
    assert index.add(path).videos[0].status == "unchanged"
    assert entry(index).latest_sighting.modified_ms == 10**12, "and not read again next time"


def test_an_overwritten_file_is_refused_everywhere(index: Index, path: Path, film: Film) -> None:
    (moment,) = index.search("red", k=1)
    film("north.mp4", seconds=8, fps=4, paint=scene("blue"))
    with pytest.raises(ChangedMediaError, match=r"has changed since it was indexed.*index the new content"):
        index.source(moment.video_id)
    assert index.thumbnail(entry(index).video_id, 1.0) is None
    assert index.search("red", k=1, thumbnails=True)[0].thumbnail is None
    moment_result = GET_MOMENT.run(index, MomentArguments(moment_id=moment.id))
    assert moment_result.files == ()
    with pytest.raises(MediaNotFoundError, match="gone or was overwritten"):
        SIMILAR_MOMENTS.run(index, SimilarArguments(moment_id=moment.id))
    with pytest.raises(ChangedMediaError):
        check_footage(path, moment.video_id)


def test_an_overwritten_file_of_the_same_size_and_mtime_is_refused(index: Index, path: Path) -> None:
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ChangedMediaError):
        find_footage(entry(index))


def test_an_existing_thumbnail_is_kept(index: Index, path: Path, film: Film) -> None:
    before = index.thumbnail(entry(index).video_id, 1.0)
    film("north.mp4", seconds=8, fps=4, paint=scene("blue"))
    assert before is not None
    assert index.thumbnail(entry(index).video_id, 1.0) == before, "it shows what was indexed"


def test_an_earlier_path_is_used_if_the_latest_has_other_content(index: Index, path: Path, film: Film) -> None:
    copy = Path(shutil.copy(path, path.with_name("copy.mp4")))
    index.add(copy)
    assert find_footage(entry(index)) == copy
    copy.write_bytes(b"something else")
    assert find_footage(entry(index)) == path
    path.unlink()
    with pytest.raises(ChangedMediaError, match=r"copy\.mp4"):
        find_footage(entry(index))
    copy.unlink()
    with pytest.raises(MediaNotFoundError, match=r"copy\.mp4 is gone.*var-plugin delete"):
        find_footage(entry(index))


def test_rows_without_file_times_are_compared_by_content(index: Index, path: Path, film: Film) -> None:
    row = entry(index)
    (sighting,) = row.sightings
    unknown = {"size": None, "modified_ms": None, "changed_ms": None}
    old = row.model_copy(update={"sightings": (sighting.model_copy(update=unknown),)})
    assert find_footage(old) == path
    film("north.mp4", seconds=8, fps=4, paint=lambda time: textured(1))
    with pytest.raises(ChangedMediaError):
        find_footage(old)


def test_a_reindex_always_compares_the_content(index: Index, path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    state, row = path.stat(), entry(index)
    times = {"modified_ms": state.st_mtime_ns // 1_000_000, "changed_ms": state.st_ctime_ns // 1_000_000}
    row = row.model_copy(update={"sightings": (row.latest_sighting.model_copy(update=times),)})
    assert find_footage(row) == path, "the same size and times"
    with pytest.raises(ChangedMediaError):
        find_footage(row, always_hash=True)
