"""The public names of an index, and opening and using one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.api import Index, open_index
from var_plugin.config import settings
from var_plugin.errors import IndexUnavailableError, InvalidInputError, UnknownVideoError

METHODS = {
    "add", "add_example", "anomalies", "backup", "close", "curves", "delete", "examples", "learning", "moment", "prune",
    "reindex", "remove_example", "repair", "report", "rescore", "score_statistics", "search", "search_embedded",
    "segments", "size", "source", "thumbnail", "verify", "video", "videos",
}  # fmt: skip
PROPERTIES = {"suite", "uri"}


def test_index_has_only_documented_public_names() -> None:
    assert {name for name in dir(Index) if not name.startswith("_")} == METHODS | PROPERTIES
    assert all(getattr(Index, name).__doc__ for name in METHODS | PROPERTIES)


@pytest.mark.parametrize("is_set", [True, False])
def test_an_empty_location_is_not_the_default_one(is_set: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_set:
        monkeypatch.setenv("VAR_PLUGIN_INDEX", "")
        settings.cache_clear()
    with pytest.raises(InvalidInputError, match="the location of the index is empty"):
        open_index(None if is_set else "")
    monkeypatch.undo()
    settings.cache_clear()


def test_an_index_is_created_only_where_this_is_asked_for(tmp_path: Path) -> None:
    missing = tmp_path / "typo.db"
    for suite in (None, color_suite()):
        with pytest.raises(IndexUnavailableError, match=r"there is no index at .*typo\.db; check .*create=True"):
            open_index(missing, suite=suite, create=False if suite else None)
    assert not missing.exists()
    for number, options in enumerate(({"create": True}, {})):
        with open_index(tmp_path / f"{number}.db", suite=color_suite(), **options) as index:
            assert index.videos() == []
        with open_index(tmp_path / f"{number}.db", suite=color_suite(), create=False) as index:
            assert index.search("red") == []


def test_another_name_at_the_location_of_an_index_is_not_created(tmp_path: Path) -> None:
    open_index(tmp_path / "a.db", suite=color_suite()).close()
    with pytest.raises(IndexUnavailableError, match="there is no index"):
        open_index(tmp_path / "a.db", name="other")


def test_moments_videos_and_thumbnails_are_found_by_id(index: Index, film: Film) -> None:
    path = film(seconds=9, fps=4, paint=scene("red"))
    assert index.add(path, camera="north").ok
    (moment,) = index.search("red", k=1)
    again = index.moment(moment.id)
    assert again.model_copy(update={"score": moment.score, "matched": moment.matched}) == moment
    video = index.video(moment.video_id)
    assert (video.uri, video.paths, index.videos(path)) == (str(path), (str(path),), [video])
    assert index.thumbnail(video.video_id, moment.peak) is not None
    for call in (index.video, index.source, index.segments, index.delete, lambda each: index.thumbnail(each, 0.0)):
        with pytest.raises(UnknownVideoError):
            call("feed")
