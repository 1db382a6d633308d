"""Suites on captioned videos: sounds as queries, several captions per video, frames at even distances."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.colors import DESCRIPTION, MeanColor, color_suite
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.encoders.base import Space, Vectors, l2_normalize
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.custom import open_folder
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.evaluation.captions import Captioned, captioned
from var_plugin.evaluation.clip_cache import ClipCache, clip_cache, evenly
from var_plugin.evaluation.evaluate_suite import measure


class HighIsRed:
    """Hears a high tone as red and a low one as blue."""

    window, hop = 16_000, 8_000

    def encode(self, windows: np.ndarray) -> Vectors:
        high = [np.abs(np.fft.rfft(window)).argmax() > 1_000 for window in windows]
        return l2_normalize(np.array([[1, 0, 0] if one else [0, 0, 1] for one in high]))


def hearing_suite() -> Suite:
    space = Space("scene", 3, "IP", frozenset(("video", "audio")), "hearing-1")
    return Suite(DESCRIPTION, {"scene": SpaceEncoders(space, image=MeanColor(), audio=HighIsRed())})


def test_the_sound_of_a_video_is_a_query_for_it(film: Film, tmp_path: Path) -> None:
    """XDViolence-AR from its lists to a row, with films in the place of its videos."""
    lists = tmp_path / "lists"
    lists.mkdir()
    names = {"Red__#00-01_label_B1-0-0": ("red", 3_000.0), "Blue__#00-02_label_A": ("blue", 300.0)}
    (lists / "audio_test.list").write_text("".join(f"D:\\features\\{name}__vggish.npy\n" for name in names))
    for name, (color, tone) in names.items():
        film(f"videos/{name}.mp4", seconds=3, fps=4, paint=scene(color), tone=tone)
    examples = captioned("xdviolence-ar", tmp_path / "videos", lists, "test")
    assert [one.anomalous for one in examples] == [True, False]
    suite = hearing_suite()
    clips = clip_cache(suite, tmp_path / "clips").read(one.video for one in examples)
    _, zero_shot = measure(suite, examples, lambda one: clips, resamples=0)
    assert zero_shot.videos is not None
    assert zero_shot.videos.query_to_video.recall[0] == 100
    with pytest.raises(UnsupportedModalityError, match="cannot find videos by audio"):
        measure(color_suite(), examples, lambda one: clips, resamples=0)
    both = Suite(DESCRIPTION, {"texts": color_suite().encoders["scene"], "sounds": suite.encoders["scene"]})
    asked: list[str] = []

    def read(one: Suite) -> dict[Path, ClipFeatures]:
        asked.extend(one.encoders)
        return clips

    assert measure(both, examples, read, resamples=0)[1].videos == zero_shot.videos
    assert asked == ["sounds"], "the space that takes sounds, not the first one that takes video"


def test_a_video_may_have_several_captions() -> None:
    clips = {
        Path(name): ClipFeatures(
            times=np.zeros(1), vectors=l2_normalize(np.array([color])), usable=np.ones(1, bool), end=1.0
        )
        for name, color in {"a": (1.0, 0.1, 0.0), "b": (0.0, 0.1, 1.0)}.items()
    }
    examples = [Captioned(Path("a"), "red"), Captioned(Path("a"), "blue"), Captioned(Path("b"), "blue")]
    chance, found = measure(color_suite(), examples, lambda one: clips, resamples=200)
    assert found.videos is not None and chance.videos is not None
    assert found.videos.query_to_video.recall[0] == pytest.approx(200 / 3)
    assert found.videos.video_to_query.recall == (50, 100, 100), "any caption of its own is right; equal ones tie"
    assert chance.videos.query_to_video.recall[0] == pytest.approx(50)
    assert chance.videos.video_to_query.recall[0] == pytest.approx(50), "two right of three, and one of three"
    assert chance.videos.video_to_query.median_rank == pytest.approx(1.5)
    with pytest.raises(InvalidInputError, match="nothing to measure"):
        measure(color_suite(), [], lambda one: clips)


def test_frames_are_taken_at_even_distances() -> None:
    clips = ClipFeatures(
        times=np.arange(10.0), vectors=np.eye(10, dtype=np.float32), usable=np.ones(10, bool), end=10.0
    )
    assert evenly(clips, 4).times.tolist() == [1, 3, 6, 8]
    assert evenly(clips, 4).vectors.argmax(axis=1).tolist() == [1, 3, 6, 8]
    assert evenly(clips, 12) is clips


def test_a_video_is_looked_at_once_until_it_changes(film: Film, tmp_path: Path) -> None:
    class Counting(MeanColor):
        motion_size = fps = None
        frames_per_clip = stride = 1
        runs = 0

        def encode(self, frames: list) -> Vectors:  # type: ignore[type-arg]
            Counting.runs += 1
            return super().encode([frame.image for frame in frames])

    path = film(seconds=2, fps=4, paint=scene("red"))
    first = ClipCache(Counting(), "one", tmp_path / "clips")(path)
    again = ClipCache(Counting(), "one", tmp_path / "clips")(path)
    assert Counting.runs == 1
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert first.end == again.end
    ClipCache(Counting(), "two", tmp_path / "clips")(path)
    assert Counting.runs == 2, "another encoder"
    film(seconds=3, fps=4, paint=scene("blue"))
    assert ClipCache(Counting(), "one", tmp_path / "clips")(path).end == pytest.approx(3)


def test_a_suite_made_from_another_looks_at_no_video_again(film: Film, tmp_path: Path) -> None:
    """Unless it sees otherwise: with crops it does."""
    path = film(seconds=2, fps=4, paint=scene("red"))
    base = color_suite()
    kept = tmp_path / "clips"
    seen = clip_cache(base, kept)(path)
    for name, fields, entries in (("worded", {"prompts": ["a {}"]}, 1), ("cropped", {"crops": 5}, 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "suite.json").write_text(json.dumps({"base": "colors"} | fields))
        again = clip_cache(open_folder(folder, lambda name: base), kept)(path)
        assert len(list(kept.rglob("*.npz"))) == entries
        np.testing.assert_allclose(again.vectors, seen.vectors, atol=0.02)


def test_what_was_kept_is_mapped_not_read(film: Film, tmp_path: Path) -> None:
    clips = clip_cache(color_suite(), tmp_path)(film(seconds=2, fps=4, paint=scene("red")))
    assert isinstance(clips.vectors.base, np.memmap)
    assert torch.from_numpy(clips.vectors).shape == (4, 3)
