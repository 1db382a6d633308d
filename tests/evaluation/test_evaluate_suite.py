"""Suites on captioned videos: audio queries, several captions per video, evenly spaced frames."""

from __future__ import annotations

import json
from dataclasses import replace
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
from var_plugin.evaluation.captions import CaptionedVideo, load_captions
from var_plugin.evaluation.clip_cache import ClipCache, clip_cache, sample_evenly
from var_plugin.evaluation.evaluate_suite import evaluate_suite


class HighIsRed:
    """Encodes a high tone as red and a low one as blue."""

    window, hop = 16_000, 8_000

    def encode(self, windows: np.ndarray) -> Vectors:
        is_high = [np.abs(np.fft.rfft(window)).argmax() > 1_000 for window in windows]
        return l2_normalize(np.array([[1, 0, 0] if high else [0, 0, 1] for high in is_high]))


def audio_suite() -> Suite:
    space = Space("scene", 3, "IP", frozenset(("video", "audio")), "audio-1")
    return Suite(DESCRIPTION, {"scene": SpaceEncoders(space, image=MeanColor(), audio=HighIsRed())})


def test_audio_track_of_a_video_is_its_query(film: Film, tmp_path: Path) -> None:
    """Evaluate on lists in the format of XDViolence-AR with generated videos."""
    lists = tmp_path / "lists"
    lists.mkdir()
    names = {"Red__#00-01_label_B1-0-0": ("red", 3_000.0), "Blue__#00-02_label_A": ("blue", 300.0)}
    (lists / "audio_test.list").write_text("".join(f"D:\\features\\{name}__vggish.npy\n" for name in names))
    for name, (color, tone) in names.items():
        film(f"videos/{name}.mp4", seconds=3, fps=4, paint=scene(color), tone=tone)
    examples = load_captions("xdviolence-ar", tmp_path / "videos", lists, "test")
    assert [example.anomalous for example in examples] == [True, False]
    suite = audio_suite()
    clips = clip_cache(suite, tmp_path / "clips").read(example.video for example in examples)
    _, zero_shot = evaluate_suite(suite, examples, lambda one: clips, resamples=0)
    assert zero_shot.videos is not None
    assert zero_shot.videos.query_to_video.recall[0] == 100
    with pytest.raises(UnsupportedModalityError, match="cannot search video by audio"):
        evaluate_suite(color_suite(), examples, lambda one: clips, resamples=0)
    both = Suite(
        DESCRIPTION,
        {
            name: replace(encoders, space=replace(encoders.space, name=name))
            for name, encoders in (("texts", color_suite().encoders["scene"]), ("sounds", suite.encoders["scene"]))
        },
        fps=4,
        cache=tmp_path,
    )
    spaces: list[str] = []

    def read(candidate: Suite) -> dict[Path, ClipFeatures]:
        spaces.extend(candidate.encoders)
        assert (candidate.fps, candidate.cache) == (4, tmp_path)
        return clips

    assert evaluate_suite(both, examples, read, resamples=0)[1].videos == zero_shot.videos
    assert spaces == ["sounds"], "the space that takes audio, not the first one that takes video"


def test_several_captions_of_a_video_are_all_relevant() -> None:
    clips = {
        Path(name): ClipFeatures(
            times=np.zeros(1), vectors=l2_normalize(np.array([color])), usable=np.ones(1, bool), end=1.0
        )
        for name, color in {"a": (1.0, 0.1, 0.0), "b": (0.0, 0.1, 1.0)}.items()
    }
    examples = [CaptionedVideo(Path("a"), "red"), CaptionedVideo(Path("a"), "blue"), CaptionedVideo(Path("b"), "blue")]
    chance, zero_shot = evaluate_suite(color_suite(), examples, lambda one: clips, resamples=200)
    assert zero_shot.videos is not None and chance.videos is not None
    assert zero_shot.videos.query_to_video.recall[0] == pytest.approx(200 / 3)
    assert zero_shot.videos.video_to_query.recall == (50, 100, 100), (
        "every caption of a video is relevant; equal captions tie"
    )
    assert chance.videos.query_to_video.recall[0] == pytest.approx(50)
    assert chance.videos.video_to_query.recall[0] == pytest.approx(50), "two of three are relevant, and one of three"
    assert chance.videos.video_to_query.median_rank == pytest.approx(1.5)
    with pytest.raises(InvalidInputError, match="no captioned videos"):
        evaluate_suite(color_suite(), [], lambda one: clips)


def test_frames_are_sampled_evenly() -> None:
    clips = ClipFeatures(
        times=np.arange(10.0), vectors=np.eye(10, dtype=np.float32), usable=np.ones(10, bool), end=10.0
    )
    assert sample_evenly(clips, 4).times.tolist() == [1, 3, 6, 8]
    assert sample_evenly(clips, 4).vectors.argmax(axis=1).tolist() == [1, 3, 6, 8]
    assert sample_evenly(clips, 12) is clips


def test_unchanged_video_is_embedded_once(film: Film, tmp_path: Path) -> None:
    class Counting(MeanColor):
        motion_size = fps = None
        frames_per_clip = stride = 1
        runs = 0

        def encode(self, frames: list) -> Vectors:  # type: ignore[type-arg]
            Counting.runs += 1
            return super().encode([frame.image for frame in frames])

    path = film(seconds=2, fps=4, paint=scene("red"))
    first = ClipCache(Counting(), "one", tmp_path / "clips", fps=2.0)(path)
    again = ClipCache(Counting(), "one", tmp_path / "clips", fps=2.0)(path)
    assert Counting.runs == 1
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert first.end == again.end
    ClipCache(Counting(), "two", tmp_path / "clips", fps=2.0)(path)
    assert Counting.runs == 2, "another encoder"
    film(seconds=3, fps=4, paint=scene("blue"))
    assert ClipCache(Counting(), "one", tmp_path / "clips", fps=2.0)(path).end == pytest.approx(3)


def test_fine_tuned_suite_shares_the_clip_cache_of_its_base(film: Film, tmp_path: Path) -> None:
    """A suite with crops has other clip features and therefore its own cache."""
    path = film(seconds=2, fps=4, paint=scene("red"))
    base = color_suite()
    cache = tmp_path / "clips"
    expected = clip_cache(base, cache)(path)
    for name, fields, entries in (("worded", {"prompts": ["a {}"]}, 1), ("cropped", {"crops": 5}, 2)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "suite.json").write_text(json.dumps({"base": "colors"} | fields))
        again = clip_cache(open_folder(folder, lambda name: base), cache)(path)
        assert len(list(cache.rglob("*.npz"))) == entries
        np.testing.assert_allclose(again.vectors, expected.vectors, atol=0.02)


def test_cached_clips_are_memory_mapped(film: Film, tmp_path: Path) -> None:
    clips = clip_cache(color_suite(), tmp_path)(film(seconds=2, fps=4, paint=scene("red")))
    assert isinstance(clips.vectors.base, np.memmap)
    assert torch.from_numpy(clips.vectors).shape == (4, 3)
