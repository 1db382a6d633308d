from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.evaluation.clip_cache import clip_cache


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, b"PK\x03\x04", None])
def test_damaged_clips_are_embedded_again(ending: str, damage: bytes | None, film: Film, tmp_path: Path) -> None:
    path = film(seconds=8, paint=scene("red"))
    clips = clip_cache(color_suite(), tmp_path / "cache")(path)
    vectors = clips.vectors.copy()  # they are memory-mapped
    (file,) = (tmp_path / "cache").rglob(f"*.{ending}")
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    again = clip_cache(color_suite(), tmp_path / "cache")(path)
    np.testing.assert_array_equal(again.vectors, vectors)
    np.testing.assert_array_equal(again.times, clips.times)


def test_the_name_of_a_video_need_not_be_utf8(film: Film, tmp_path: Path) -> None:
    path = film(seconds=1)
    renamed = path.rename(path.with_name(os.fsdecode(b"h\xf6f.mp4")))
    assert len(clip_cache(color_suite(), tmp_path / "cache")(renamed).times)
