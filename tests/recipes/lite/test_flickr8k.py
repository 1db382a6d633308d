from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes.lite.flickr8k import CAPTIONS, random_view, read_flickr8k, read_image
from var_plugin.errors import MediaNotFoundError


def write(folder: Path, names: list[str]) -> None:
    rows = [f"{name},caption {number} of {name}" for name in names for number in range(CAPTIONS)]
    folder.joinpath("captions.csv").write_text("\n".join(["image,caption", *rows]))


def test_every_image_is_in_one_part(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(2500)]
    write(tmp_path, names)
    parts = read_flickr8k(tmp_path)
    assert {part: len(data) for part, data in parts.items()} == {"train": 500, "validation": 1000, "test": 1000}
    assert sorted(path.name for data in parts.values() for path in data.paths) == sorted(names)


def test_split_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(2500)]
    write(tmp_path, names)
    first = read_flickr8k(tmp_path)
    write(tmp_path, names[::-1])
    assert read_flickr8k(tmp_path) == first


def test_captions_stay_with_their_image(tmp_path: Path) -> None:
    write(tmp_path, [f"{number}.jpg" for number in range(2100)])
    train = read_flickr8k(tmp_path)["train"]
    for path, captions in zip(train.paths, train.captions, strict=True):
        assert captions == tuple(f"caption {number} of {path.name}" for number in range(CAPTIONS))


def test_missing_captions_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match=r"captions\.csv"):
        read_flickr8k(tmp_path)


def test_random_views_keep_size_and_dtype_and_differ(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    random = np.random.default_rng(1)
    views = [random_view(image, random) for _ in range(8)]
    assert all(view.shape == image.shape and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == 8


def test_some_views_are_mirrored() -> None:
    bright_right = np.zeros((40, 40, 3), np.uint8)
    bright_right[:, 20:] = 200
    random = np.random.default_rng(0)
    sides = [
        view[:, 20:].mean() > view[:, :20].mean() for view in (random_view(bright_right, random) for _ in range(20))
    ]
    assert 0 < sum(sides) < 20
