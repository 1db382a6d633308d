"""Measure novelty against a camera's history on a camera with a daily rhythm over 14 days.

    python benchmarks/novelty.py FILM [--cache VECTORS.npz] [--days 14]

FILM shows a street with pedestrians from a fixed camera, for example vtest.avi of Debian's package opencv-doc. It is
shown in two views: the road, and the whole image, in which pedestrians are small. The background is the median of the
frames. Segments of 4 s are made of it: the street with all pedestrians, with those of one third of the image, with one
group of pedestrians, and empty. Each is darkened to daylight and dusk, or made grey like the image of an infrared
camera, gets the noise of a camera, and is encoded by the suite `lite`. The rows of a camera are drawn from these
vectors and mixtures of two of a kind: few pedestrians at dawn, many at noon, none at night (22 to 6 h). The light
changes with the hour, clouds by the day. Every file is an hour long. It is scored before it is added, as during
indexing.

Printed: false alarms per camera-hour on normal days, detection of one pedestrian at 03:00, alarms for the same one at
noon, an event that the history contains several times, a slow change of light, a moved camera, memory, and time. The
baselines are novelty within the file, and the distance to the five nearest of 2,000 vectors without time of day and
occasions. An alarm is an anomaly score of at least 0.5 without any event score.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from scipy import ndimage

import var_plugin as vp
from var_plugin.encoders.anomaly import anomaly_score
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import embed_clips, pool_clips
from var_plugin.encoders.novelty import CameraHistory, blend_novelty, novelty_scores

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
THRESHOLD = 0.5
SAME_ALARM_MS = 5 * 60_000


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


def anomaly(novelty: np.ndarray, learned: float) -> np.ndarray:
    """Return the anomaly scores of rows without any event score."""
    return anomaly_score(np.zeros_like(novelty), novelty, learned)


def score_history(history: CameraHistory, rows: Footage, video_id: str) -> np.ndarray:
    """Return the anomaly scores of the rows of one file, blended during the cold start."""
    within = novelty_scores((rows.recorded - rows.recorded[0]) / 1000, rows.vectors)
    learned = history.learned
    return anomaly(blend_novelty(history.novelty(rows.vectors, rows.recorded, video_id), within, learned), learned)


def score_within(rows: Footage) -> np.ndarray:
    """Return the anomaly scores of the rows of one file by the baseline without a history."""
    return anomaly(novelty_scores((rows.recorded - rows.recorded[0]) / 1000, rows.vectors), 0.0)


class NearestNeighbours:
    """Baseline: the distance to the five nearest of 2,000 vectors, as a robust z-score."""

    def __init__(self, vectors: np.ndarray) -> None:
        random = np.random.default_rng(0)
        self._vectors = vectors[random.choice(len(vectors), min(2_000, len(vectors)), replace=False)]
        distances = self._distances(self._vectors, 1)
        self._median = np.median(distances)
        self._spread = max(1.4826 * float(np.median(np.abs(distances - self._median))), 0.01)

    def _distances(self, vectors: np.ndarray, skip: int = 0) -> np.ndarray:
        similarity = -np.sort(-(vectors @ self._vectors.T), axis=1)[:, skip : skip + 5]
        return np.asarray(1 - similarity.mean(axis=1))

    def score(self, vectors: np.ndarray) -> np.ndarray:
        """Return the anomaly scores (n,)."""
        z = np.maximum(self._distances(vectors) - self._median, 0) / self._spread
        return anomaly((z / (z + 4)).astype(np.float32), 1.0)


def alarms_per_hour(rows: Footage, scores: np.ndarray) -> float:
    """Return the alarms per hour. Alarms within five minutes count once."""
    times = rows.recorded[scores >= THRESHOLD]
    count = 0 if not len(times) else 1 + int((np.diff(times) > SAME_ALARM_MS).sum())
    return count / (rows.seconds.sum() / 3600)


def at_rate(normal: np.ndarray, hours: float, events: np.ndarray, rate: float) -> float:
    """Return the share of events above the threshold at which `rate` normal rows an hour are."""
    count = int(rate * hours)
    return float((events > np.sort(normal)[-count - 1]).mean())


def table(title: str, header: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    cells = [[f"{each:.3g}" if isinstance(each, float) else str(each) for each in line] for line in lines]
    rows = ["| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *cells]]
    sys.stdout.write(f"\n{title}\n\n" + "\n".join(rows) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film", type=Path)
    parser.add_argument("--cache", type=Path, help="file in which encoded vectors are kept")
    parser.add_argument("--days", type=int, default=14)
    arguments = parser.parse_args()
    bright = str(LEVELS[0])
    street = Pool.build(arguments.film, arguments.cache, "near", (*map(str, LEVELS), INFRARED))
    indoors = Pool({bright: street.vectors[bright]})
    wide = Pool.build(arguments.film, arguments.cache, "wide", (bright,))
    cameras = {
        "Daylight, and infrared light at night": street,
        "The same light by day and night": indoors,
        "The same light by day and night, and small pedestrians": wide,
    }
    for title, pool in cameras.items():
        sys.stdout.write(f"\n## {title}\n")
        days = [camera_day(pool, day) for day in range(arguments.days + 1)]
        history, known = learn(pool, days[:-1])
        compare(pool, days, history, known)
        repeat_event(pool, days)
    sys.stdout.write("\n## Changes\n")
    change_light(street, arguments.days)
    days = [camera_day(indoors, day) for day in range(arguments.days + 1)]
    move(wide, days)
    cost(days)


def learn(pool: Pool, days: Sequence[Footage]) -> tuple[CameraHistory, list[np.ndarray]]:
    """Index the days in order and print what happens during the cold start. Return the history and all vectors."""
    history, lines, known = CameraHistory(), [], []
    for number, day in enumerate(days):
        learned, scores = history.learned, []
        night = pedestrians(pool, number, 3)
        noon = pedestrians(pool, number, 12)
        detected: dict[str, float] = {}
        for video_id, rows in day.hours():
            for name, event in (("night", night), ("noon", noon)):
                if event.recorded[0] // HOUR == rows.recorded[0] // HOUR:
                    detected[name] = float((score_history(history, event, "event") >= THRESHOLD).mean())
            scores.append(score_history(history, rows, video_id))
            rows.add_to(history, video_id)
        known.append(day.vectors)
        line = (number + 1, learned, alarms_per_hour(day, np.concatenate(scores)), detected["night"], detected["noon"])
        lines.append(line)
    table(
        "Learning: each hour is scored, then added.",
        ("day", "learned at its start", "false alarms per hour", "pedestrians found at 03:00", "and at 12:00"),
        lines,
    )
    sys.stdout.write(f"\nAfter {len(days)} days: {history.status}; {len(history)} vectors kept.\n")
    return history, known


def compare(pool: Pool, days: Sequence[Footage], history: CameraHistory, known: Sequence[np.ndarray]) -> None:
    """Compare with the baselines on the day after the history."""
    last = days[-1]
    night, noon = pedestrians(pool, len(days) - 1, 3), pedestrians(pool, len(days) - 1, 12)
    neighbours = NearestNeighbours(np.concatenate(known))

    def within(event: Footage) -> np.ndarray:
        """Score an event as part of its hour."""
        hour = Footage(
            np.concatenate([last.recorded, event.recorded]),
            np.concatenate([last.vectors, event.vectors]),
            np.concatenate([last.seconds, event.seconds]),
        )
        inside = np.flatnonzero(hour.recorded // HOUR == event.recorded[0] // HOUR)
        order = inside[np.argsort(hour.recorded[inside], kind="stable")]
        rows = Footage(hour.recorded[order], hour.vectors[order], hour.seconds[order])
        return score_within(rows)[order >= len(last.recorded)]

    methods = {
        "history": lambda rows, video: score_history(history, rows, video),
        "within the file only": lambda rows, video: score_within(rows),
        "nearest neighbours, no time of day": lambda rows, video: neighbours.score(rows.vectors),
    }
    lines = []
    hours = float(last.seconds.sum() / 3600)
    for name, method in methods.items():
        scores = np.concatenate([method(rows, video) for video, rows in last.hours()])
        if name == "within the file only":
            night_scores, noon_scores = within(night), within(noon)
        else:
            night_scores, noon_scores = method(night, "event"), method(noon, "event")
        lines.append(
            (
                name,
                alarms_per_hour(last, scores),
                float((night_scores >= THRESHOLD).mean()),
                float((noon_scores >= THRESHOLD).mean()),
                float(np.median(night_scores)),
                float(np.median(noon_scores)),
                at_rate(scores, hours, night_scores, 0.1),
            )
        )
    header = ("method", "false alarms per hour", "found at 03:00", "at 12:00", "median score at 03:00", "at 12:00",
              "found at 03:00 at 0.1 rows per hour")  # fmt: skip
    table("The day after the history.", header, lines)


def repeat_event(pool: Pool, days: Sequence[Footage]) -> None:
    """Add an event at 03:00 to the last nights of the history and score it again."""
    lines = []
    for count in (0, 1, 2, 3, 5):
        history = CameraHistory()
        for day in days[:-1]:
            day.add_to(history, f"day {day.recorded[0] // DAY}")
        for night in range(len(days) - 1 - count, len(days) - 1):
            pedestrians(pool, night, 3).add_to(history, f"event {night}")
        scores = score_history(history, pedestrians(pool, len(days) - 1, 3), "new")
        lines.append((count, float(np.median(scores)), float((scores >= THRESHOLD).mean())))
    table("The same pedestrians at 03:00 on earlier nights.", ("nights", "median score", "found"), lines)


def change_light(pool: Pool, days: int) -> None:
    """Let the light fade by half over the days."""
    history, alarms = CameraHistory(), []
    for number in range(days):
        day = camera_day(pool, number, seed=1, drift=1.0 - 0.5 * number / max(1, days - 1), name="fading")
        scores = []
        for video_id, rows in day.hours():
            scores.append(score_history(history, rows, video_id))
            rows.add_to(history, video_id)
        alarms.append(alarms_per_hour(day, np.concatenate(scores)))
    sudden = Footage(day.recorded, camera_day(pool, days, seed=1, drift=1.15).vectors[: len(day.recorded)], day.seconds)
    rows = dict(sudden.hours())
    noon = next(each for each in rows.values() if each.recorded[0] % DAY == 12 * HOUR)
    table(
        "Light that fades by half over the days.",
        ("false alarms per hour, first day", "second to fourth", "later", "share of rows if it returns at once, noon"),
        [
            (
                alarms[0],
                float(np.mean(alarms[1:4])),
                float(np.mean(alarms[4:])),
                float((score_history(history, noon, "sudden") >= THRESHOLD).mean()),
            )
        ],
    )


def move(view: Pool, days: Sequence[Footage]) -> None:
    """Move the camera at 10 h of the day after the history."""
    history = CameraHistory()
    for day in days[:-1]:
        day.add_to(history, f"day {day.recorded[0] // DAY}")
    moved = camera_day(view, len(days) - 1, name="moved")
    lines = []
    for minutes in (15, 30, 60, 120, 360):
        start = (FIRST_DAY + len(days) - 1) * DAY + 10 * HOUR
        selected = (moved.recorded >= start) & (moved.recorded < start + minutes * 60_000)
        rows = Footage(moved.recorded[selected], moved.vectors[selected], moved.seconds[selected])
        first = Footage(rows.recorded[:100], rows.vectors[:100], rows.seconds[:100])
        share = float((score_history(history, first, "moved") >= THRESHOLD).mean()) if minutes == 15 else float("nan")
        rows.add_to(history, "moved")
        lines.append((minutes, history.status, share))
    table("A moved camera.", ("minutes since then", "status", "share of alarms among the first rows"), lines)


def cost(days: Sequence[Footage]) -> None:
    """Print memory and time by the number of rows added before."""
    vectors = np.concatenate([day.vectors for day in days])
    recorded = np.concatenate([day.recorded for day in days])
    seconds = np.concatenate([day.seconds for day in days])
    hour = next(rows for _, rows in days[-1].hours() if rows.recorded[0] % DAY == 12 * HOUR)
    lines = []
    for count in (1_000, 10_000, 100_000):
        chosen = np.linspace(0, len(vectors) - 1, count).astype(int)
        history = CameraHistory()
        Footage(recorded[chosen], vectors[chosen], seconds[chosen]).add_to(history, "all")
        times = []
        for repetition in range(5):
            started = time.process_time()
            history.novelty(hour.vectors, hour.recorded, "new")
            scored = time.process_time()
            hour.add_to(history, f"again {repetition}")
            _ = history.learned
            times.append((scored - started, time.process_time() - scored))
        size = history.nbytes / 2**20
        score, add = 1000 * np.median(times, axis=0) / len(hour.recorded)
        lines.append((f"{count:,}", len(history), float(size), float(score), float(add)))
    header = ("rows added before", "kept afterwards", "memory, MiB", "CPU ms per row to score", "CPU ms per row to add")
    table("Cost, by files of an hour (450 rows).", header, lines)


if __name__ == "__main__":
    main()
