from __future__ import annotations

from pathlib import Path

import gradio
import numpy as np
import pytest
from PIL import Image

import var_plugin as vp
from tests.films import Film, textured
from tests.tolerances import FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.anomaly import anomaly_score
from var_plugin.encoders.base import VideoEncoder
from var_plugin.encoders.lite.build import scene
from var_plugin.encoders.weights import LITE
from var_plugin.media.decoded import Frame
from var_plugin.media.motion import motion_image


def test_novelty_alone_counts_by_half() -> None:
    event, novelty = np.array([0.9, 0.01, 0.0], np.float32), np.array([0.0, 0.8, 1.0], np.float32)
    assert anomaly_score(event, novelty).tolist() == pytest.approx([0.9, 0.4, 0.5])


def test_novelty_counts_nearly_in_full_once_the_camera_is_known() -> None:
    event, novelty = np.zeros(2, np.float32), np.array([0.5, 1.0], np.float32)
    assert anomaly_score(event, novelty, learned=1.0).tolist() == pytest.approx([0.45, 0.9])


def test_events_count_more_where_novelty_is_high() -> None:
    event, novelty = np.array([0.4, 0.4, 1.0], np.float32), np.array([0.0, 1.0, 1.0], np.float32)
    usual, strange, certain = anomaly_score(event, novelty).tolist()
    assert usual == pytest.approx(0.4)
    assert strange / (1 - strange) == pytest.approx(0.4 / 0.6 * np.exp(3), rel=1e-4)
    assert certain == 1


def test_without_a_detector_novelty_counts_in_full() -> None:
    novelty = np.array([0.2, 0.8], np.float32)
    assert anomaly_score(None, novelty) is novelty


def test_the_lite_suite_returns_events_novelty_and_their_scope(film: Film) -> None:
    path = film(seconds=3, fps=25, paint=lambda time: textured(int(time * 25) // 5, 96, 128))
    suite = vp.load_suite("lite")
    clips = suite.anomaly(path)
    assert [clip.start for clip in clips] == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5], abs=0.05)
    assert clips[-1].end == pytest.approx(3.0, abs=0.05)
    for clip in clips:
        assert all(0 <= score <= 1 for score in clip.events.values())
        assert clip.novelty == 0, "a film of three seconds has no other time to compare with"
        assert clip.score >= clip.events["fighting"] - FLOAT32
        assert set(clip.events) >= {"fighting", "fire", "smoke", "traffic accident", "weapon"}
    for kind in ("fights", "fire", "smoke", "accidents", "armed"):
        assert kind in suite.anomaly_scope


def test_a_static_scene_has_no_event(film: Film) -> None:
    still = vp.load_suite("lite").anomaly(film(seconds=3, fps=25, paint=lambda time: textured(2, 96, 128)))
    assert max(clip.score for clip in still) < 0.5


def test_an_index_has_anomaly_led_segments(film: Film, tmp_path: Path) -> None:
    """An image shakes for three seconds of an otherwise static half minute."""

    def paint(time: float) -> np.ndarray:
        shift = int(40 * np.sin(40 * time)) if 15 <= time < 18 else 0
        return np.roll(textured(5, 96, 128), shift, axis=1)

    path = film(seconds=30, fps=25, paint=paint)
    with vp.open_index(tmp_path / "index.db", suite="lite") as index:
        assert index.add(path).ok
        scores = index.suite.anomaly(path)
        led = index.search("something moves", k=10, filter=vp.Filter(segment_kinds=("anomaly",)))
        if max(score.score for score in scores) >= 0.3:
            assert any(moment.start < 18 and moment.end > 15 for moment in led)
        else:
            assert not led


def test_a_cut_is_not_motion() -> None:
    """A cut changes half of all pixels but the score of no clip."""
    video = scene(LITE, settings().cache).video_encoder
    assert video is not None
    calm, cut = _clip(video, cut=False), _clip(video, cut=True)
    scores = video.score_events(np.stack([calm] * 5 + [cut] + [calm] * 5))
    assert scores[:, 0].tolist() == pytest.approx(video.score_events(np.stack([calm] * 11))[:, 0].tolist(), abs=FLOAT32)


def test_clips_of_cuts_alone_are_scored_unchanged() -> None:
    video = scene(LITE, settings().cache).video_encoder
    assert video is not None
    assert len(video.score_events(np.stack([_clip(video, cut=True)] * 3))) == 3


def _clip(video: VideoEncoder, *, cut: bool) -> np.ndarray:
    """Return a clip of a static scene, or with a cut to another scene."""
    folder, side = Path(gradio.__file__).parent / "media_assets" / "images", video.extractor.motion_size or 0
    before, after = (np.asarray(Image.open(folder / name).convert("RGB")) for name in ("cheetah.jpg", "tower.jpg"))
    greys = [np.asarray(Image.fromarray(image).convert("L").resize((side, side))) for image in (before, after)]
    clip = [greys[0], greys[0], greys[int(cut)], greys[int(cut)]]
    image = np.asarray(Image.fromarray(before).resize(video.extractor.size))
    return np.asarray(video.extractor.encode([Frame(0.0, image, motion_image(clip))])[0])
