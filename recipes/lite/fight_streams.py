"""Is a fight found in a long film? Real films, put together from clips of held-out sources.

Each film of two to five minutes holds one fight, of one to three clips of one source, among ordinary clips and frozen
images; there is a cut every few seconds. It is looked for by the anomaly score alone, beside three simple methods;
and by the words "people fighting", with one part of the suite after the other.

A film is several times as long as the ordinary clips that its fold leaves over, so each of them is shown about three
times, as ordinary life is in front of a camera. That favours the label-free part of the score; so the trained part
stands alone, too.
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
"""Height and width of the films in pixels."""
RIGHT = 0.3
"""The least intersection over union of a moment that counts as found."""

_WORDS = "people fighting"
_BLIND_SECONDS = 4.0  # length of what the methods without a span of their own point at


@dataclass(frozen=True)
class Film:
    """A film and where its fight is, in seconds."""

    path: Path
    fight: Span


def make_film(clips: Sequence[FightClip], path: Path, random: np.random.Generator) -> Film:
    """Put a film together from these clips, among which must be fights and others."""
    fights = [clip for clip in clips if clip.fight]
    ordinary = [clip for clip in clips if not clip.fight]
    first = fights[random.integers(len(fights))]
    same = [clip for clip in fights if clip.source == first.source]
    event = [same[index] for index in random.permutation(len(same))[: random.integers(1, 4)]]
    wanted, length = random.uniform(120, 300), 0.0
    parts: list[NDArray[np.uint8]] = []
    while length < wanted:
        frames = frames_of(ordinary[random.integers(len(ordinary))])
        if random.random() < 0.3:
            frames = np.repeat(frames[:1], random.integers(3, 10) * FPS, axis=0)
        parts.append(frames)
        length += len(frames) / FPS
    place = int(random.integers(len(parts) + 1))
    before = sum(map(len, parts[:place])) / FPS
    shown = np.concatenate([frames_of(clip) for clip in event])
    _write(path, [*parts[:place], shown, *parts[place:]])
    return Film(path, (before, before + len(shown) / FPS))


def answers(film: Film, weights: Path, random: np.random.Generator) -> dict[str, bool]:
    """Return for each method whether the moment it puts first overlaps the fight enough."""
    encoders = scene(weights)
    video = encoders.video_encoder
    if video is None:
        raise TypeError("the lite suite has no encoder for frames")
    clips = embed_clips(film.path, video.extractor, fps=settings().fps)
    anomaly = score_clips(clips, video)
    change, cuts = _changes(film.path)
    points = {
        "random": random.uniform(0, clips.end),
        "frame difference": float(clips.times[int(np.convolve(change, np.ones(5), "same").argmax())]),
        "cut detector": float(clips.times[int(cuts.argmax())]),
    }
    half = _BLIND_SECONDS / 2
    moments = {"anomaly score": _highest(clips, anomaly.score)}
    if anomaly.event is not None:
        moments["its trained part alone"] = _highest(clips, anomaly.event)
    moments |= {name: (at - half, at + half) for name, at in points.items()}
    led = anomaly_spans(clips.times, anomaly.score, clips.end, min_score=settings().anomaly_threshold)
    moments |= _by_words(clips, encoders, video, led)
    return {name: overlap(span, film.fight) >= RIGHT for name, span in moments.items()}


def _highest(clips: ClipFeatures, scores: NDArray[np.float32]) -> Span:
    """Return the anomaly-led span of the highest score."""
    spans = anomaly_spans(clips.times, scores, clips.end, min_score=0.0)
    return max(spans, key=lambda span: scores[clips.within(*span)].max())


def _by_words(
    clips: ClipFeatures, encoders: SpaceEncoders, video: VideoEncoder, led: Sequence[Span]
) -> dict[str, Span]:
    """Return the segment nearest to the words, with one part of the suite after the other."""
    if encoders.text is None:
        raise TypeError("the lite suite has no encoder for text")
    words = encoders.text.encode([_WORDS])[0]
    appearance = words.copy()
    appearance[-(len(KINDS) + 2) :] = 0
    uniform = uniform_segments(clips.end, settings().segment_seconds)
    asked = {
        "words, appearance": (appearance, uniform),
        "words, + motion": (words, uniform),
        "words, + anomaly-led segments": (words, [*uniform, *led]),
    }
    return {
        name: spans[int((pool_clips(clips, video, spans) @ query).argmax())] for name, (query, spans) in asked.items()
    }


def _changes(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much moves right after each frame looked at, and how unlike the frame before it is."""
    frames = list(FrameReader(path, rate=settings().fps, size=(60, 80), motion=64))
    moved = [np.abs(frame.motion.astype(np.float64) - 128).mean() for frame in frames if frame.motion is not None]
    images = np.stack([frame.image for frame in frames]).astype(np.float64)
    jumps = np.abs(np.diff(images, axis=0, prepend=images[:1])).mean(axis=(1, 2, 3))
    return np.array(moved), jumps


def overlap(found: Span, wanted: Span) -> float:
    """Return intersection over union."""
    shared = max(0.0, min(found[1], wanted[1]) - max(found[0], wanted[0]))
    return shared / (found[1] - found[0] + wanted[1] - wanted[0] - shared)


def frames_of(clip: FightClip) -> NDArray[np.uint8]:
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


def held_out_films(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Film, Path]]:
    """Yield films of each fold's left-out sources, with the weights trained on the others."""
    data = read_data(arguments, arguments.weights)
    sentences = read_sentences(arguments.uca, data.images["train"])
    for number, (model, left) in enumerate(lite_alan.fold_models(data.examples, sentences, lite_alan.Recipe())):
        weights = folder / f"fold{number}"
        shutil.copytree(arguments.weights, weights)
        lite_alan.save_tensors(model, weights)
        random = np.random.default_rng(1000 * arguments.seed + number)
        for film in range(arguments.films):
            clips = [data.examples.clips[index] for index in left]
            yield make_film(clips, folder / f"{number}-{film}.mp4", random), weights


def told(rows: Sequence[Mapping[str, bool]]) -> str:
    """Return how often each method was right, in percent, with a 95 % interval over films."""
    drawn = np.random.default_rng(0).integers(0, len(rows), (1000, len(rows)))
    lines = [f"{len(rows)} films; right first, percent, with a 95 % interval over films:"]
    for name in rows[0]:
        right = 100 * np.array([row[name] for row in rows])
        low, high = np.percentile(right[drawn].mean(axis=1), [2.5, 97.5])
        lines.append(f"{name}: {right.mean():.0f} ({low:.0f} to {high:.0f})")
    return "\n".join(lines)


def main() -> None:
    """Count how often the moment put first is the fight."""
    parser = measuring_parser("fight_streams", main.__doc__)
    parser.add_argument("--films", type=int, default=4, help="films per fold; there are six folds")
    parser.add_argument("--seed", type=int, default=0, help="another one puts other films together")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = [answers(film, weights, random) for film, weights in held_out_films(arguments, Path(folder))]
    print(told(rows))


if __name__ == "__main__":
    with exit_on_error("fight_streams"):
        main()
