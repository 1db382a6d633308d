"""Measure whether a fight is found in a long video that is joined from clips of held-out sources.

Each video of two to five minutes contains one fight, of one to three clips of one source, among ordinary clips and
frozen images, with a cut every few seconds. It is searched by the anomaly score alone, by three simple baselines, and
by the text "people fighting" with more and more parts of the suite.

A video is several times longer than the ordinary clips of its fold, so each of these appears about three times. That
favours the label-free part of the anomaly score. The trained part is therefore also measured alone.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from recipes.lite import lite_alan
from recipes.lite.alan_data import measuring_parser, read_data
from recipes.lite.alan_motion import KINDS, read_sentences
from recipes.lite.cctv_fights import FightClip
from var_plugin.config import settings
from var_plugin.encoders.anomaly import score_clips
from var_plugin.encoders.base import VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures, embed_clips, pool_clips
from var_plugin.encoders.lite.build import scene
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import exit_on_error
from var_plugin.media.frames import FrameReader
from var_plugin.media.segmentation import anomaly_spans, uniform_segments

Span = tuple[float, float]

FPS = 25
SIZE = (240, 320)
"""Height and width of the videos in pixels."""
MIN_IOU = 0.3
"""Minimum intersection over union of a correct moment."""

_WORDS = "people fighting"
_POINT_SECONDS = 4.0  # length of the span around the point that a simple method returns


@dataclass(frozen=True)
class FightVideo:
    """A video and the span of its fight in seconds."""

    path: Path
    fight: Span


def make_video(clips: Sequence[FightClip], path: Path, random: np.random.Generator) -> FightVideo:
    """Join a video from these clips, which must include fights and others."""
    fights = [clip for clip in clips if clip.fight]
    ordinary = [clip for clip in clips if not clip.fight]
    first = fights[random.integers(len(fights))]
    same = [clip for clip in fights if clip.source == first.source]
    event = [same[index] for index in random.permutation(len(same))[: random.integers(1, 4)]]
    min_length, length = random.uniform(120, 300), 0.0
    parts: list[NDArray[np.uint8]] = []
    while length < min_length:
        frames = read_frames(ordinary[random.integers(len(ordinary))])
        if random.random() < 0.3:
            frames = np.repeat(frames[:1], random.integers(3, 10) * FPS, axis=0)
        parts.append(frames)
        length += len(frames) / FPS
    position = int(random.integers(len(parts) + 1))
    start = sum(map(len, parts[:position])) / FPS
    frames = np.concatenate([read_frames(clip) for clip in event])
    _write(path, [*parts[:position], frames, *parts[position:]])
    return FightVideo(path, (start, start + len(frames) / FPS))


def evaluate_methods(video: FightVideo, weights: Path, random: np.random.Generator) -> dict[str, bool]:
    """Return for each method whether its first moment overlaps the fight enough."""
    encoders = scene(weights, settings().cache)
    encoder = encoders.video_encoder
    if encoder is None:
        raise TypeError("the lite suite has no encoder for frames")
    clips = embed_clips(video.path, encoder.extractor, fps=settings().fps)
    anomaly = score_clips(clips, encoder)
    motion, differences = _changes(video.path)
    points = {
        "random": random.uniform(0, clips.end),
        "frame difference": float(clips.times[int(np.convolve(motion, np.ones(5), "same").argmax())]),
        "cut detector": float(clips.times[int(differences.argmax())]),
    }
    half = _POINT_SECONDS / 2
    moments = {"anomaly score": _highest(clips, anomaly.score)}
    if anomaly.events:
        moments["its trained part only"] = _highest(clips, anomaly.events["fighting"])
    moments |= {name: (at - half, at + half) for name, at in points.items()}
    led = anomaly_spans(clips.times, anomaly.score, clips.end, min_score=settings().anomaly_threshold)
    moments |= _by_text(clips, encoders, encoder, led)
    return {name: overlap(span, video.fight) >= MIN_IOU for name, span in moments.items()}


def _highest(clips: ClipFeatures, scores: NDArray[np.float32]) -> Span:
    """Return the anomaly-led span with the highest score."""
    spans = anomaly_spans(clips.times, scores, clips.end, min_score=0.0)
    return max(spans, key=lambda span: scores[clips.within(*span)].max())


def _by_text(
    clips: ClipFeatures, encoders: SpaceEncoders, encoder: VideoEncoder, led: Sequence[Span]
) -> dict[str, Span]:
    """Return the segment that is most similar to the text, with more and more parts of the suite."""
    if encoders.text is None:
        raise TypeError("the lite suite has no encoder for text")
    text = encoders.text.encode([_WORDS])[0]
    appearance = text.copy()
    appearance[-(len(KINDS) + 2) :] = 0
    uniform = uniform_segments(clips.end, settings().segment_seconds)
    searches = {
        "text, appearance": (appearance, uniform),
        "text, + motion": (text, uniform),
        "text, + anomaly-led segments": (text, [*uniform, *led]),
    }
    return {
        name: spans[int((pool_clips(clips, encoder, spans) @ query).argmax())]
        for name, (query, spans) in searches.items()
    }


def _changes(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean motion after each sampled frame and its mean difference from the frame before."""
    frames = list(FrameReader(path, rate=settings().fps, size=(60, 80), motion=64))
    motion = [np.abs(frame.motion.astype(np.float64) - 128).mean() for frame in frames if frame.motion is not None]
    images = np.stack([frame.image for frame in frames]).astype(np.float64)
    differences = np.abs(np.diff(images, axis=0, prepend=images[:1])).mean(axis=(1, 2, 3))
    return np.array(motion), differences


def overlap(span: Span, other: Span) -> float:
    """Return the intersection over union of two spans."""
    intersection = max(0.0, min(span[1], other[1]) - max(span[0], other[0]))
    return intersection / (span[1] - span[0] + other[1] - other[0] - intersection)


def read_frames(clip: FightClip) -> NDArray[np.uint8]:
    """Return the clip's frames at `FPS` and in `SIZE`, (n, height, width, 3)."""
    return np.stack([frame.image for frame in FrameReader(clip.path, rate=FPS, size=SIZE)])


def _write(path: Path, parts: Sequence[NDArray[np.uint8]]) -> None:
    height, width = SIZE
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, width=width, height=height, options={"preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for image in (image for part in parts for image in part):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def held_out_videos(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[FightVideo, Path]]:
    """Yield videos of each fold's held-out sources and the weights trained on the other sources."""
    data = read_data(arguments, arguments.weights)
    sentences = read_sentences(arguments.uca, data.images["train"])
    for number, (model, held_out) in enumerate(lite_alan.fold_models(data.examples, sentences, lite_alan.Recipe())):
        weights = folder / f"fold{number}"
        shutil.copytree(arguments.weights, weights)
        lite_alan.save_tensors(model, weights)
        random = np.random.default_rng(1000 * arguments.seed + number)
        for video in range(arguments.videos):
            clips = [data.examples.clips[index] for index in held_out]
            yield make_video(clips, folder / f"{number}-{video}.mp4", random), weights


def format_rows(rows: Sequence[Mapping[str, bool]]) -> str:
    """Return how often each method was correct, in percent, with a 95 % confidence interval over videos."""
    resamples = np.random.default_rng(0).integers(0, len(rows), (1000, len(rows)))
    lines = [f"{len(rows)} videos; correct moment first, percent, with a 95 % confidence interval over videos:"]
    for name in rows[0]:
        correct = 100 * np.array([row[name] for row in rows])
        low, high = np.percentile(correct[resamples].mean(axis=1), [2.5, 97.5])
        lines.append(f"{name}: {correct.mean():.0f} ({low:.0f} to {high:.0f})")
    return "\n".join(lines)


def main() -> None:
    """Count how often the first moment is the fight."""
    parser = measuring_parser("fight_streams", main.__doc__)
    parser.add_argument("--videos", type=int, default=4, help="videos per fold; there are six folds")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random videos")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = [evaluate_methods(video, weights, random) for video, weights in held_out_videos(arguments, Path(folder))]
    print(format_rows(rows))


if __name__ == "__main__":
    with exit_on_error("fight_streams"):
        main()
