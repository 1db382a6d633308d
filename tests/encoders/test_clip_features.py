from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.colors import DESCRIPTION, MeanColor, build
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.config import IndexOptions
from var_plugin.encoders.base import NoDetectorMixin, Space, Vectors, l2_normalize
from var_plugin.encoders.clip_features import (
    ClipBatches,
    ClipFeatures,
    ImageVideoEncoder,
    SamplingSpec,
    embed_clips,
    encode_batches,
    mean_pool,
    pool_clips,
    stack_chunks,
)
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.ingest.embed import embed
from var_plugin.media.decoded import Frame


class Stacks:
    """Extractor for clips of several frames. Features are the frame times and the mean colour of the first frame."""

    size = (8, 8)
    motion_size = None

    def __init__(self, frames_per_clip: int, stride: int, fps: float | None) -> None:
        self.frames_per_clip, self.stride, self.fps = frames_per_clip, stride, fps
        self.read: list[list[float]] = []
        self.batches = 0

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        self.batches += 1
        count = (len(frames) - self.frames_per_clip) // self.stride + 1
        assert len(frames) == (count - 1) * self.stride + self.frames_per_clip
        clips = [frames[i * self.stride : i * self.stride + self.frames_per_clip] for i in range(count)]
        self.read += [[frame.time for frame in clip] for clip in clips]
        return np.stack([clip[0].image.mean(axis=(0, 1)) for clip in clips]).astype(np.float32)


class OnStacks(NoDetectorMixin):
    """A video encoder with an extractor that several encoders can share."""

    def __init__(self, extractor: Stacks) -> None:
        self.extractor = extractor

    def embed_spans(self, clips: Vectors, spans: Sequence[slice]) -> Vectors:
        return mean_pool(clips, spans)

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        return mean_pool(clips, [slice(None)])[0]


def test_clips_are_the_sampled_frames(film: Film) -> None:
    reached: list[float] = []
    path = film(seconds=20, fps=10, paint=scene("red", "green", "blue"))
    clips = embed_clips(path, ImageVideoEncoder(MeanColor()), fps=2, progress=reached.append)
    assert clips.times == pytest.approx(np.arange(40) / 2, abs=0.01)
    assert clips.vectors.argmax(axis=1).tolist() == [0] * 16 + [1] * 16 + [2] * 8
    assert clips.usable.all()
    assert clips.end == pytest.approx(20.0, abs=0.02)
    assert reached == [7.5, 15.5, 19.5]


@pytest.mark.parametrize(
    ("frames", "clips"),
    [(1, 1), (3, 1), (4, 1), (5, 1), (6, 2), (8, 2), (9, 2), (16, 4), (17, 4), (18, 5), (40, 10), (41, 10), (42, 11)],
)
def test_clips_of_several_frames_are_consecutive(film: Film, frames: int, clips: int) -> None:
    """Clips have four frames. An incomplete clip at the end counts from half a clip on."""
    extractor = Stacks(frames_per_clip=5, stride=4, fps=10)
    features = embed_clips(film(seconds=frames / 10, fps=10), extractor, fps=2)
    assert features.times == pytest.approx(np.arange(clips) * 0.4, abs=0.01)
    for number, clip in enumerate(extractor.read):
        expected = np.minimum(np.arange(5) + 4 * number, frames - 1) / 10
        assert clip == pytest.approx(expected, abs=0.01)


def test_clips_have_equal_lengths_at_a_low_frame_rate(film: Film) -> None:
    extractor = Stacks(frames_per_clip=8, stride=8, fps=8)
    features = embed_clips(film(seconds=6, fps=2, paint=scene("red", "green", seconds=3)), extractor, fps=1)
    assert features.times == pytest.approx(np.arange(6.0), abs=0.01)
    assert features.vectors.argmax(axis=1).tolist() == [0] * 3 + [1] * 3
    assert extractor.read[1] == pytest.approx(1 + np.arange(8) / 8, abs=0.01)


@pytest.mark.parametrize(("frames_per_clip", "stride", "calls"), [(1, 1, 1), (4, 4, 1), (5, 4, 4)])
def test_batches_of_several_videos_are_encoded_together_unless_clips_overlap(
    film: Film, frames_per_clip: int, stride: int, calls: int
) -> None:
    alone, together = Stacks(frames_per_clip, stride, fps=10), Stacks(frames_per_clip, stride, fps=10)
    films = [film(f"{color}.mkv", seconds=3, fps=10, paint=scene(color)) for color in ("red", "blue")]
    batches = [batch for path in films for batch in ClipBatches(path, SamplingSpec.of(alone, 10))]
    assert len(batches) == 4
    expected = [batch.encode(alone) for batch in batches]
    for encoded, reference in zip(encode_batches(batches, together), expected, strict=True):
        assert (encoded.times, encoded.usable) == (reference.times, reference.usable)
        np.testing.assert_array_equal(encoded.vectors, reference.vectors)
    assert (together.batches, together.read) == (calls, alone.read)


def test_an_extractor_without_a_rate_uses_the_given_rate(film: Film) -> None:
    features = embed_clips(film(seconds=8, fps=10), Stacks(frames_per_clip=8, stride=8, fps=None), fps=2)
    assert features.times == pytest.approx([0.0, 4.0], abs=0.01)


def test_spaces_that_share_an_extractor_decode_a_video_once(film: Film) -> None:
    path = film(seconds=4, fps=10, paint=scene("red", "green", seconds=2))
    shared, own = Stacks(4, 4, None), Stacks(4, 4, None)
    first = build()["scene"].space

    def suite(*extractors: Stacks) -> Suite:
        names = [f"space-{number}" for number in range(len(extractors))]
        spaces = {name: Space(name, 3, "IP", first.modalities, first.fingerprint) for name in names}
        encoders = {
            name: SpaceEncoders(space, video=OnStacks(extractor))
            for (name, space), extractor in zip(spaces.items(), extractors, strict=True)
        }
        return Suite(DESCRIPTION, encoders)

    embedded = embed(path, suite(shared, shared, own), IndexOptions())
    assert shared.batches == own.batches == 1
    rows = [embedded.rows[name][1] for name in sorted(embedded.rows)]
    assert np.array_equal(rows[0], rows[1]) and np.array_equal(rows[1], rows[2])


def test_pooling_falls_back_to_the_clip_that_covers_the_span() -> None:
    clips = ClipFeatures(
        times=np.array([0.0, 1.0, 10.0]), vectors=l2_normalize(np.eye(3)), usable=np.ones(3, bool), end=12.0
    )
    pooled = pool_clips(clips, ImageVideoEncoder(MeanColor()), [(0.0, 2.0), (2.0, 5.0), (5.0, 9.0), (9.0, 12.0)])
    assert pooled == pytest.approx(l2_normalize(np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], float)))


@pytest.mark.parametrize(
    ("span", "clips"),
    [((0.0, 10.0), [0]), ((10.0, 20.0), [0]), ((20.0, 30.0), [0]), ((30.0, 40.0), [1]), ((55.0, 65.0), [2])],
)
def test_a_span_without_a_clip_uses_the_preceding_clip(span: tuple[float, float], clips: list[int]) -> None:
    times = np.array([0.0, 30.0, 60.0])
    features = ClipFeatures(times=times, vectors=np.zeros((3, 3), np.float32), usable=np.ones(3, bool), end=90.0)
    assert list(range(3))[features.within(*span)] == clips


def test_a_span_before_the_first_clip_uses_the_first() -> None:
    features = ClipFeatures(
        times=np.array([5.0]), vectors=np.zeros((1, 3), np.float32), usable=np.ones(1, bool), end=9.0
    )
    assert features.within(0.0, 2.0) == slice(0, 1)


@pytest.mark.parametrize("sizes", [[], [3], [16] * 700, [5_000, 1, 0, 5_000]])
def test_chunks_are_stacked_in_order(sizes: list[int]) -> None:
    rows = np.random.default_rng(0).standard_normal((sum(sizes), 3)).astype(np.float32)
    parts = np.split(rows, np.cumsum(sizes)[:-1]) if sizes else []
    stacked = stack_chunks(iter(parts))
    assert stacked.dtype == np.float32
    assert len(stacked) == len(rows)
    assert (stacked == rows).all() if sizes else stacked.shape == (0, 0)
    assert stacked.nbytes == stacked.size * 4  # nothing is left of the room to grow
