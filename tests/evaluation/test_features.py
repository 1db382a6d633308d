from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.colors import color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.errors import MediaNotFoundError
from var_plugin.evaluation.benchmarks.pairs import find_features
from var_plugin.evaluation.features import extract_features


def test_extracted_features_are_read_by_the_benchmarks(film: Film, tmp_path: Path) -> None:
    film("videos/Abuse/Abuse001_x264.mp4", seconds=8, paint=scene("red", "blue", seconds=4))
    film("videos/Normal/Normal_Videos_003_x264.mp4", seconds=6)
    (film.folder / "videos/broken.mp4").write_text("no film")
    messages: dict[str, str] = {}
    out = tmp_path / "features"
    failed = extract_features(
        film.folder / "videos", out, color_suite(), rate=2, report=lambda v, p: messages.update({v.name: p})
    )
    assert failed == 1
    assert "cannot read" in messages.pop("broken.mp4")
    assert set(messages.values()) == {""}
    files = find_features(out, ["Abuse001_x264", "Normal_Videos_003_x264"], suffixes=("__0", ""))
    clips = np.load(files["Abuse001_x264"])
    assert clips.dtype == np.float32
    assert clips.argmax(axis=1).tolist() == [0] * 8 + [2] * 8
    assert not list(out.rglob("*.part"))


def test_existing_features_are_kept(film: Film, tmp_path: Path) -> None:
    path = film("a.mp4")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.npy").write_bytes(b"from last time")
    assert extract_features(path, tmp_path / "out", color_suite(), rate=2, report=lambda v, p: None) == 0
    assert (tmp_path / "out/a.npy").read_bytes() == b"from last time"
    with pytest.raises(MediaNotFoundError):
        extract_features(tmp_path / "gone", tmp_path, color_suite(), rate=2, report=lambda v, p: None)


def test_an_error_fails_only_its_own_video(film: Film, tmp_path: Path) -> None:
    film("videos/a.mp4", seconds=1)
    film("videos/b.mp4", seconds=1)
    (tmp_path / "out/a.part").mkdir(parents=True)  # where the features of the first one would be written
    messages: dict[str, str] = {}
    failed = extract_features(
        film.folder / "videos",
        tmp_path / "out",
        color_suite(),
        rate=2,
        report=lambda v, p: messages.update({v.name: p}),
    )
    assert (failed, messages["b.mp4"]) == (1, "")
    assert "could not be processed: Is a directory" in messages["a.mp4"]


def test_videos_with_the_same_features_file_are_reported(film: Film, tmp_path: Path) -> None:
    film("videos/a.mp4", seconds=1)
    film("videos/a.mkv", seconds=1)
    problems: list[str] = []
    for _ in range(2):  # again when the features exist
        failed = extract_features(
            film.folder / "videos", tmp_path / "out", color_suite(), rate=2, report=lambda v, p: problems.append(p)
        )
        assert failed == 1
    assert problems == ["", "a.mkv has the same name up to its ending; rename one of them"] * 2
