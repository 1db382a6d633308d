from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.films import Film, plain
from var_plugin.media.cache import MediaCache
from var_plugin.media.thumbnails import cached_thumbnail, write_thumbnail


@pytest.fixture
def cache(tmp_path: Path) -> MediaCache:
    return MediaCache(tmp_path / "cache", 10**6)


def test_thumbnail_shows_the_frame_at_its_time(film: Film, cache: MediaCache, tmp_path: Path) -> None:
    path = film(seconds=4, paint=lambda time: plain(200, 30, 30) if time < 2 else plain(30, 30, 200))
    for target in (
        cached_thumbnail(lambda: path, 3.0, "ab", cache),
        write_thumbnail(path, 3.0, tmp_path / "new" / "it.jpg"),
    ):
        image = np.asarray(Image.open(target))
        assert image.shape == (240, 320, 3)
        assert image[..., 2].mean() > 150 > 80 > image[..., 0].mean()
        assert [*target.parent.iterdir()] == [target]


def test_thumbnail_is_written_once(film: Film, cache: MediaCache, tmp_path: Path) -> None:
    target = cached_thumbnail(film, 1.0, "ab", cache)
    assert cached_thumbnail(lambda: tmp_path / "gone.mp4", 1.0, "ab", cache) == target


def test_all_times_of_a_frame_share_a_thumbnail(film: Film, cache: MediaCache) -> None:
    path = film(seconds=2, fps=5)
    targets = {cached_thumbnail(lambda: path, 1.0 + 0.01 * step, "ab", cache) for step in range(40)}
    assert len(targets) <= 3
    assert {*cache.folder.glob("*/*")} == targets


def test_thumbnails_fit_the_quota(film: Film, tmp_path: Path) -> None:
    path = film(seconds=4, fps=5)
    cache = MediaCache(tmp_path / "small", 1)
    targets = [cached_thumbnail(lambda: path, float(second), "ab", cache) for second in range(4)]
    assert [*cache.folder.glob("*/*")] == targets[-1:]
