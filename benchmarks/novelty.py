"""Measure novelty against a camera's history on a camera with a daily rhythm over 14 days.

    python benchmarks/novelty.py FILM [--cache VECTORS.npz] [--days 14]

FILM shows a street with pedestrians from a fixed camera, for example vtest.avi of Debian's package opencv-doc.
`novelty_camera.py` makes the footage of a camera from it. Every file is an hour long. It is scored before it is added,
as during indexing.

Printed: false alarms per camera-hour on normal days, detection of one pedestrian at 03:00, alarms for the same one at
noon, an event that the history contains several times, a slow change of light, a moved camera, memory, and time. The
baselines are novelty within the file, and the distance to the five nearest of 2,000 vectors without time of day and
occasions. An alarm is an anomaly score of at least 0.5 without any event score.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from novelty_camera import DAY, FIRST_DAY, HOUR, INFRARED, LEVELS, Footage, Pool, camera_day, pedestrians

from var_plugin.encoders.anomaly import anomaly_score
from var_plugin.encoders.novelty import CameraHistory, blend_novelty, novelty_scores

THRESHOLD = 0.5
SAME_ALARM_MS = 5 * 60_000


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
