"""The event heads of the lite suite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from tests.films import Film, plain
from var_plugin.config import settings
from var_plugin.encoders.backbones.motion import MotionBackbone
from var_plugin.encoders.clip_features import embed_clips
from var_plugin.encoders.lite.events import EventHeads, pool_maps, smooth_logits
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.lite.video import LiteAlan, LiteClipEncoder, LiteVideo
from var_plugin.encoders.residual import MotionClipEncoder
from var_plugin.encoders.weights import LITE


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Film(tmp_path_factory.mktemp("film"))("film.mp4", seconds=4, fps=10, paint=plain)


@pytest.fixture(scope="module")
def clip_encoder() -> LiteClipEncoder:
    cache = settings().cache
    return LiteClipEncoder(LiteImageEncoder(LITE, cache), LiteAlan(), EventHeads(), MotionBackbone(cache))


def test_pooled_maps_are_mean_and_maximum() -> None:
    maps = np.arange(16, dtype=np.float32).reshape(1, 4, 2, 2)
    assert pool_maps(maps).tolist() == [[1.5, 5.5, 9.5, 13.5, 3, 7, 11, 15]]


def test_a_single_frame_raises_no_alarm() -> None:
    logits = np.full((9, 2), -4, np.float32)
    logits[4, 0] = 6
    logits[3:6, 1] = 6
    smooth = smooth_logits(logits)
    assert smooth[:, 0].max() < 0
    assert smooth[4, 1] == 6
    assert smooth_logits(logits[:1]).shape == (1, 2)


def test_a_scene_that_always_looks_like_an_accident_is_not_one() -> None:
    heads = EventHeads()
    column = heads.kinds.index("traffic accident")
    logits = np.full((2, 20, len(heads.kinds)), -3, np.float32)
    logits[0, :, column] = 1
    logits[:, 12:15, column] = 3
    busy, quiet = (heads.lower_scenes(video) for video in logits)
    assert (busy[:12, column] < -2).all()
    assert (busy[12:15, column] < 0).all(), "two more than its scene is not enough"
    np.testing.assert_array_equal(quiet, logits[1])
    others = np.arange(len(heads.kinds)) != column
    np.testing.assert_array_equal(busy[:, others], logits[0][:, others])


def test_kinds_are_those_of_the_captions() -> None:
    assert EventHeads().kinds == ("fighting", "fire", "smoke", "traffic accident", "weapon")


def test_clip_vectors_are_the_same_with_and_without_heads(film: Path, clip_encoder: LiteClipEncoder) -> None:
    cache = settings().cache
    plain_encoder = MotionClipEncoder(LiteImageEncoder(LITE, cache), LiteAlan(), MotionBackbone(cache))
    clips = embed_clips(film, clip_encoder, fps=2)
    alone = embed_clips(film, plain_encoder, fps=2)
    np.testing.assert_allclose(clip_encoder.comparable(clips.vectors), alone.vectors, atol=1e-5)
    assert clips.vectors.shape[1] == alone.vectors.shape[1] + len(EventHeads().kinds)
    spans = [slice(0, 2), slice(0, len(clips.times))]
    np.testing.assert_allclose(
        clip_encoder.embed_spans(clips.vectors, spans), plain_encoder.embed_spans(alone.vectors, spans), atol=1e-5
    )


def test_a_fight_needs_both_motion_and_look(film: Path, clip_encoder: LiteClipEncoder) -> None:
    alan, heads = LiteAlan(), EventHeads()
    video = LiteVideo(clip_encoder, alan, heads)
    clips = embed_clips(film, clip_encoder, fps=2).vectors
    fighting = heads.kinds.index("fighting")
    by_motion = video.scores(clips, np.arange(len(clips)))
    needed = smooth_logits(logit(by_motion.clip(1e-6, 1 - 1e-6))) - 1
    for look, expected in ((9.0, expit(needed)), (-9.0, np.zeros(len(clips)))):
        clips[:, alan.dim + fighting] = look
        assert np.allclose(video.score_events(clips)[:, fighting], expected, atol=1e-3)


def test_scores_have_one_column_per_kind(film: Path, clip_encoder: LiteClipEncoder) -> None:
    video = LiteVideo(clip_encoder, LiteAlan(), EventHeads())
    clips = embed_clips(film, clip_encoder, fps=2)
    scores = video.score_events(clips.vectors)
    assert scores.shape == (len(clips.times), len(video.event_kinds))
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert video.embed_video(clips.vectors, scores.max(axis=1)).shape == (LiteAlan().dim,)
