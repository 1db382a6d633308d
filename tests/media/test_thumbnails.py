from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tests.films import Film, plain
from var_plugin.media.thumbnails import save_thumbnail


def test_the_thumbnail_shows_its_time(film: Film, tmp_path: Path) -> None:
    path = film(seconds=4, paint=lambda time: plain(200, 30, 30) if time < 2 else plain(30, 30, 200))
    target = save_thumbnail(path, 3.0, tmp_path / "made" / "3000.jpg")
    picture = np.asarray(Image.open(target))
    assert picture.shape == (240, 320, 3)
    assert picture[..., 2].mean() > 150 > 80 > picture[..., 0].mean()
    assert [file.name for file in target.parent.iterdir()] == ["3000.jpg"]


def test_a_thumbnail_is_made_once(film: Film, tmp_path: Path) -> None:
    target = tmp_path / "0.jpg"
    save_thumbnail(film(), 1.0, target)
    before = target.stat().st_mtime_ns
    save_thumbnail(tmp_path / "gone.mp4", 1.0, target)
    assert target.stat().st_mtime_ns == before
