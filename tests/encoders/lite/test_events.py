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
from var_plugin.encoders.lite.events import EventHeads, append_events, pool_maps, smooth_logits
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.lite.scene import scene_dim
from var_plugin.encoders.lite.video import LiteAlan, LiteClipEncoder, LiteVideo
from var_plugin.encoders.registry import load_suite
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
    assert video.embed_video(clips.vectors, scores.max(axis=1)).shape == (scene_dim(LiteAlan(), EventHeads()),)


def test_vectors_of_a_video_end_with_its_clearest_events(film: Path, clip_encoder: LiteClipEncoder) -> None:
    alan, heads = LiteAlan(), EventHeads()
    video = LiteVideo(clip_encoder, alan, heads)
    clips = embed_clips(film, clip_encoder, fps=2).vectors
    clips[:, alan.dim :] = -9
    clips[-3:, alan.dim + heads.kinds.index("fire")] = 9
    calm, fire, whole = video.embed_spans(clips, [slice(0, 3), slice(5, len(clips)), slice(None)])
    column = alan.dim + heads.searched_kinds.index("fire")
    assert calm[column] < 0.01
    assert fire[column] == pytest.approx(0.49, abs=0.01)
    assert whole[column] == pytest.approx(fire[column])
    np.testing.assert_allclose(np.linalg.norm([calm, fire, whole], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        video.embed_video(clips, np.zeros(len(clips), np.float32))[alan.dim :], whole[alan.dim :]
    )
    others = [alan.dim + heads.searched_kinds.index(kind) for kind in ("smoke", "weapon")]
    assert (whole[others] < 0.01).all()


def test_accidents_are_not_searched_by_what_the_head_sees() -> None:
    heads = EventHeads()
    logits = np.full((1, len(heads.kinds)), 9, np.float32)
    events = dict(zip(heads.searched_kinds, heads.visible_events(logits)[0], strict=True))
    assert events["traffic accident"] == 0
    assert events["fire"] == pytest.approx(0.49, abs=0.01)


TEXTS = {
    "fire": ("flames come out of the roof", "the curtain is ablaze"),
    "smoke": ("dense fumes of smoke", "the stairs are filled with smoke"),
    "traffic accident": ("a lorry smashes into a bus", "two motorcycles collide"),
    "weapon": ("he pulls out a revolver", "a burglar with a shotgun"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_sentence_about_a_kind_has_the_events_of_the_kind(kind: str) -> None:
    heads, suite = EventHeads(), load_suite("lite")
    vectors = suite.encode("text", TEXTS[kind], space="scene")[:, -len(heads.searched_kinds) :]
    column = heads.searched_kinds.index(kind)
    assert (vectors[:, column] > 0.6).all()
    assert (np.delete(vectors, column, axis=1) < 0.3).all()


def test_ordinary_sentences_are_about_no_kind() -> None:
    texts = [
        "a man in a red jacket", "a fire truck drives by", "a lion", "people waiting at a bus stop", "a parked car",
        "children play football", "a woman opens an umbrella", "fog over a lake", "somebody types on a phone",
    ]  # fmt: skip
    vectors = load_suite("lite").encode("text", texts, space="scene")
    assert np.abs(vectors[:, -len(EventHeads().searched_kinds) :]).max() < 0.2


def test_appended_events_keep_the_norm() -> None:
    events = np.array([[0.0, 0.0], [0.3, 0.4]], np.float32)
    vectors = append_events(np.full((2, 4), 0.5, np.float32), events)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[0], [0.5, 0.5, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(vectors[1, :4], 0.5 * np.sqrt(0.75))
