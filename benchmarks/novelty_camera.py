"""Make the footage of a synthetic camera with a daily rhythm for the novelty benchmark.

A film of a street with pedestrians is shown in two views: the road, and the whole image, in which pedestrians are
small. The background is the median of the frames. The film gives segments of 4 s: the street with all pedestrians, with
those of one third of the image, with one group of pedestrians, and empty. A segment is darkened to daylight or dusk, or
made grey like the image of an infrared camera. It gets the noise of a camera and is encoded by the suite `lite`.

The rows of a camera are drawn from these vectors and mixtures of two of a kind: few pedestrians at dawn, many at noon,
none at night (22 to 6 h). The light changes with the hour, clouds by the day.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from scipy import ndimage

import var_plugin as vp
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import embed_clips, pool_clips
from var_plugin.encoders.novelty import CameraHistory

DAY, HOUR = 86_400_000, 3_600_000
FIRST_DAY = 20_000
SECONDS = 4
RATE = 5
WIDTH, HEIGHT = 320, 240
LEVELS = (1.1, 0.4)
"""Brightness relative to the film: a sunny noon, and dusk."""
INFRARED = "infrared"
VIEWS = {"near": (0.25, 0.8, 0.15, 0.7), "wide": (0.0, 1.0, 0.0, 1.0)}
"""Parts of the image that the camera shows: left, right, top, bottom."""
KINDS = ("all", "third", "one", "empty")
NIGHT_FROM, NIGHT_TO = 22, 6


def read(film: Path, view: str) -> np.ndarray:
    """Return frames (n, height, width, 3) at 5 a second."""
    left, right, top, bottom = VIEWS[view]
    frames, due = [], 0.0
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time >= due:
                image = frame.to_image()
                box = (left * image.width, top * image.height, right * image.width, bottom * image.height)
                frames.append(np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, box=box)))
                due += 1 / RATE
    return np.stack(frames)


def contents(frames: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds of content and segments (20, height, width, 3)."""
    background = np.median(frames[:: max(1, len(frames) // 60)], axis=0).astype(np.uint8)
    size = SECONDS * RATE
    for _ in range(6):
        yield "empty", np.broadcast_to(background, (size, *background.shape))
    for first in range(0, len(frames) - size + 1, 2 * size):
        shown = frames[first : first + size]
        yield "all", shown
        part = np.broadcast_to(background, shown.shape).copy()
        left = first // (2 * size) % 3
        columns = slice(left * WIDTH // 3, (left + 1) * WIDTH // 3)
        part[:, :, columns] = shown[:, :, columns]
        yield "third", part
        yield "one", one_pedestrian(shown, background)


def one_pedestrian(shown: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the background with the largest moving object: one pedestrian, or a few who walk together."""
    result, center = np.broadcast_to(background, shown.shape).copy(), None
    for number, frame in enumerate(shown):
        difference = np.abs(frame.astype(np.int16) - background).max(axis=2)
        is_moving = ndimage.binary_dilation(difference > 30, iterations=4)
        labels, count = ndimage.label(is_moving)
        if not count:
            continue
        sizes = ndimage.sum_labels(is_moving, labels, range(1, count + 1))
        centers = np.array(ndimage.center_of_mass(is_moving, labels, range(1, count + 1)))
        is_near = np.full(count, True) if center is None else np.linalg.norm(centers - center, axis=1) < 60
        chosen = int(np.argmax(sizes * (is_near if is_near.any() else 1)))
        center = centers[chosen]
        mask = (labels == chosen + 1)[:, :, None]
        result[number] = np.where(mask, frame, result[number])
    return result


def light(segment: np.ndarray, level: str, random: np.random.Generator) -> np.ndarray:
    """Return a segment at a level of daylight or in infrared light, with the noise of a camera."""
    if level == INFRARED:
        vertical, horizontal = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
        lamp = np.exp(-0.8 * (vertical**2 + horizontal**2))[None, :, :, None]
        image = segment.mean(axis=3, keepdims=True) * 0.75 * lamp + 12
        noise = 7.0
        image = np.repeat(image, 3, axis=3)
    else:
        image, noise = segment * float(level), 2.0 + 4.0 * max(0.0, 0.8 - float(level))
    image = image + random.normal(scale=noise, size=segment.shape[:3])[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(segments: Iterable[np.ndarray]) -> np.ndarray:
    """Return the vectors (n, dim) of segments, as rows would store them."""
    video = vp.load_suite("lite").encoders_for("video").video_encoder
    if video is None:
        raise SystemExit("the suite does not encode video")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            for number, image in enumerate(image for segment in segments for image in segment):
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        clips = embed_clips(path, video.extractor, fps=2.0)
    count = (number + 1) // (SECONDS * RATE)
    return pool_clips(clips, video, [(SECONDS * n, SECONDS * (n + 1)) for n in range(count)])


@dataclass(frozen=True)
class Pool:
    """Real vectors per light and kind of content: `vectors[light][kind]` is (n, dim)."""

    vectors: dict[str, dict[str, np.ndarray]]

    @classmethod
    def build(cls, film: Path, cache: Path | None, view: str, lights: Sequence[str]) -> Pool:
        """Encode a film, or read its vectors from a cache."""
        stored = dict(np.load(cache)) if cache and cache.exists() else {}
        parts: list[tuple[str, np.ndarray]] = []
        pool: dict[str, dict[str, np.ndarray]] = {}
        random = np.random.default_rng(0)
        for level in lights:
            if f"{view}|{level}|{KINDS[0]}" not in stored:
                parts = parts or list(contents(read(film, view)))
                vectors = encode(light(segment, level, random) for _, segment in parts)
                for kind in KINDS:
                    chosen = [number for number, (each, _) in enumerate(parts) if each == kind]
                    stored[f"{view}|{level}|{kind}"] = vectors[chosen]
                if cache:
                    np.savez(cache, **stored)
            pool[level] = {kind: stored[f"{view}|{level}|{kind}"] for kind in KINDS}
        return cls(pool)

    @property
    def has_daylight(self) -> bool:
        """Whether the light changes over the day. Otherwise it is always bright, as indoors."""
        return str(LEVELS[1]) in self.vectors

    def draw(
        self, kind: str, level: float | None, random: np.random.Generator, number: int | None = None
    ) -> np.ndarray:
        """Return a vector (dim,) at a level of daylight, or in infrared light if it is None."""
        high, low = LEVELS
        level = high if level is None and INFRARED not in self.vectors else level
        if level is None:
            return self._vary(self.vectors[INFRARED][kind], random, number)
        share = float(np.clip((level - low) / (high - low), 0, 1))
        number = int(random.integers(len(self.vectors[str(high)][kind]))) if number is None else number
        bright = self._vary(self.vectors[str(high)][kind], random, number)
        if share == 1:
            return bright
        return np.asarray(share * bright + (1 - share) * self._vary(self.vectors[str(low)][kind], random, number))

    def _vary(self, vectors: np.ndarray, random: np.random.Generator, number: int | None) -> np.ndarray:
        """Return one of the vectors, mixed with another one of its kind, as if a segment showed both in turn."""
        number = int(random.integers(len(vectors))) if number is None else number
        share = random.uniform(0, 0.5)
        return np.asarray(
            (1 - share) * vectors[number] + share * vectors[int(random.integers(len(vectors)))], np.float32
        )


@dataclass(frozen=True)
class Footage:
    """Rows of a camera."""

    recorded: np.ndarray
    vectors: np.ndarray
    seconds: np.ndarray
    name: str = "day"

    def hours(self) -> Iterator[tuple[str, Footage]]:
        """Yield the files of an hour with their ids."""
        for hour in np.unique(self.recorded // HOUR):
            selected = self.recorded // HOUR == hour
            yield (
                f"{self.name}-{hour}",
                Footage(self.recorded[selected], self.vectors[selected], self.seconds[selected], self.name),
            )

    def add_to(self, history: CameraHistory, video_id: str) -> None:
        """Add the rows as one video."""
        ids = [f"{video_id}-{at}" for at in self.recorded]
        history.add(ids, self.vectors, self.recorded, video_id, self.seconds)


def camera_day(pool: Pool, day: int, seed: int = 0, drift: float = 1.0, name: str = "day") -> Footage:
    """Return all rows of a day: 8 s each by day and 64 s each in the empty night, as merged segments."""
    random = np.random.default_rng((seed, day))
    clouds = random.uniform(0.75, 1.1)
    recorded, vectors, seconds = [], [], []
    at = 0.0
    while at < 86_400:
        hour = at / 3600
        is_night = hour >= NIGHT_FROM or hour < NIGHT_TO
        if is_night:
            kind, level, length = "empty", None, 64.0
        else:
            bright = np.sin(np.pi * (hour - NIGHT_TO + 0.6) / (NIGHT_FROM - NIGHT_TO + 1.2)) ** 0.7
            passing = 0.04 * random.standard_normal()
            level = (
                float(np.clip(drift * clouds * bright + passing, LEVELS[1], LEVELS[0]))
                if pool.has_daylight
                else LEVELS[0]
            )
            busy = float(np.clip(1.2 * np.exp(-(((hour - 13) / 4.5) ** 2)), 0.08, 0.95))
            kind = "empty"
            if random.random() < busy:
                kind = str(random.choice(["all", "third", "one"], p=[0.6, 0.3, 0.1] if busy > 0.5 else [0.1, 0.4, 0.5]))
            length = 8.0
        recorded.append(round((FIRST_DAY + day) * DAY + at * 1000))
        vectors.append(pool.draw(kind, level, random))
        seconds.append(length)
        at += length
    return Footage(np.array(recorded), l2_normalize(np.stack(vectors)), np.array(seconds), name)


def pedestrians(pool: Pool, day: int, hour: float) -> Footage:
    """Return rows in which one pedestrian passes, one minute after another, for each pedestrian of the film."""
    random = np.random.default_rng((9, max(0, day)))
    level = None if hour >= NIGHT_FROM or hour < NIGHT_TO else LEVELS[0]
    count = len(pool.vectors[str(LEVELS[0])]["one"])
    vectors = np.stack([pool.draw("one", level, random, number) for number in range(count)])
    recorded = round((FIRST_DAY + day) * DAY + hour * HOUR) + 60_000 * np.arange(count)
    return Footage(recorded, l2_normalize(vectors), np.full(count, 8.0), "pedestrian")
