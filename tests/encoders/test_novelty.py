from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.novelty import MAX_VECTORS, UNDATED, CameraHistory, blend_novelty, novelty_scores


def footage(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips every half second of one scene with noise."""
    rng = np.random.default_rng(seed)
    return np.arange(n) / 2, l2_normalize(np.eye(16)[np.zeros(n, int)] + 0.05 * rng.normal(size=(n, 16)))


def test_a_single_event_has_high_novelty() -> None:
    times, vectors = footage(600)
    vectors[200:220] = l2_normalize(np.eye(16)[np.full(20, 5)] + 0.05 * np.random.default_rng(1).normal(size=(20, 16)))
    scores = novelty_scores(times, vectors)
    assert scores[200:220].min() > 0.8
    assert np.delete(scores, slice(200, 220)).max() < 0.4


def test_features_of_any_norm_are_accepted() -> None:
    times, vectors = footage(300)
    lengths = np.random.default_rng(2).uniform(0.1, 9, (300, 1)).astype(np.float32)
    assert novelty_scores(times, vectors * lengths) == pytest.approx(novelty_scores(times, vectors), abs=1e-4)


def test_repeated_events_have_low_novelty() -> None:
    times, vectors = footage(600)
    for first in range(0, 600, 100):
        vectors[first : first + 20] = np.eye(16)[5]
    assert novelty_scores(times, vectors).max() < 0.5


def test_a_static_scene_has_no_novelty() -> None:
    assert novelty_scores(*footage(300)).max() < 0.4


@pytest.mark.parametrize("n", [0, 1, 10, 60])
def test_a_video_too_short_to_compare_scores_zero(n: int) -> None:
    assert novelty_scores(*footage(n)).tolist() == [0.0] * n


def test_long_videos_are_compared_with_a_sample() -> None:
    times, vectors = footage(12_000)
    vectors[7_000:7_020] = np.eye(16)[5]
    scores = novelty_scores(times, vectors)
    assert scores[7_000:7_020].min() > 0.8
    assert scores[:6_900].max() < 0.4


@given(st.integers(1, 200), st.integers(0, 9))
def test_scores_are_finite_and_in_range(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = novelty_scores(np.sort(rng.uniform(0, 500, n)), l2_normalize(rng.normal(size=(n, 4))))
    assert scores.shape == (n,)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores < 1)).all()


DAY, HOUR, SLOT = 86_400_000, 3_600_000, 900_000
FIRST_DAY = 20_000
DIM = 32
VIEW, NIGHT, OTHER_VIEW, EVENT, LIGHT = l2_normalize(np.random.default_rng(7).normal(size=(5, DIM)))


@dataclass(frozen=True)
class Footage:
    """Rows of one camera in files of an hour, each row standing for 225 s."""

    recorded: np.ndarray
    vectors: np.ndarray
    name: str = "file"

    def add_to(self, history: CameraHistory, order: np.ndarray | None = None, batch: int = 500) -> CameraHistory:
        order = np.arange(len(self.recorded)) if order is None else order
        for first in range(0, len(order), batch):
            part = order[first : first + batch]
            times = self.recorded[part]
            history.add(
                [f"{self.name} {time}" for time in times],
                self.vectors[part],
                times,
                [f"{self.name} {time // HOUR}" for time in times],
                np.full(len(part), 225.0),
            )
        return history

    def scores(self, history: CameraHistory) -> np.ndarray:
        return history.novelty(self.vectors, self.recorded, "another file")


def people(count: int, seed: int, strength: float = 0.6) -> np.ndarray:
    """People in front of the camera: each looks different."""
    return strength * l2_normalize(np.random.default_rng(seed).normal(size=(count, DIM)))


def camera(
    first: int = 0, days: int = 7, *, view: np.ndarray = VIEW, light: float = 0.0, name: str = "file"
) -> Footage:
    """Busy from 6 to 22 h, quiet and in infrared light at night. The light changes by `light` a day."""
    recorded = np.arange(days * DAY // (SLOT // 4)) * (SLOT // 4) + (FIRST_DAY + first) * DAY
    hours, noise = recorded % DAY / HOUR, np.random.default_rng(first).normal(size=(len(recorded), DIM))
    is_night = (hours < 6) | (hours >= 22)
    vectors = np.where(is_night[:, None], view + NIGHT, view + people(len(recorded), first + 1))
    vectors = vectors + 0.02 * noise + light * ((recorded - FIRST_DAY * DAY) / DAY)[:, None] * LIGHT
    return Footage(recorded, l2_normalize(vectors), name)


def at(hour: float, day: int = 7) -> np.ndarray:
    return np.array([round((FIRST_DAY + day) * DAY + hour * HOUR)])


@cache
def week() -> CameraHistory:
    return camera().add_to(CameraHistory())


def person(hour: float) -> np.ndarray:
    background = VIEW + NIGHT if hour < 6 or hour >= 22 else VIEW
    return l2_normalize((background + people(1, 99, strength=0.8)[0])[None])


def rows_of(history: CameraHistory) -> list[tuple[float, ...]]:
    assert history._rows is not None
    return sorted(zip(history._rows.keys.tolist(), history._rows.recorded.tolist(), strict=True))


def test_a_person_at_night_is_novel_and_at_noon_is_not() -> None:
    assert week().novelty(person(3), at(3), "new")[0] > 0.5
    assert week().novelty(person(12), at(12), "new")[0] < 0.3


def test_an_empty_street_at_noon_is_less_novel_than_a_person_at_night() -> None:
    empty = week().novelty(VIEW[None], at(12), "new")
    assert empty[0] < week().novelty(person(3), at(3), "new")[0]


def test_the_next_day_is_not_novel() -> None:
    assert (camera(7, 1).scores(week()) >= 0.5).mean() < 0.01


def test_infrared_light_at_its_usual_hours_is_not_novel_but_at_noon_it_is() -> None:
    night = l2_normalize((VIEW + NIGHT)[None])
    assert week().novelty(night, at(2), "new")[0] < 0.3
    assert week().novelty(night, at(12), "new")[0] > 0.4


def test_the_sample_is_bounded_and_does_not_depend_on_the_order() -> None:
    footage = camera()
    assert len(footage.recorded) > MAX_VECTORS
    shuffled = footage.add_to(CameraHistory(), np.random.default_rng(3).permutation(len(footage.recorded)), 77)
    assert 0.95 * MAX_VECTORS < len(shuffled) <= MAX_VECTORS
    assert rows_of(shuffled) == rows_of(week())
    assert (shuffled.hours, shuffled.learned) == (pytest.approx(week().hours), week().learned)
    assert shuffled.novelty(person(3), at(3), "new") == pytest.approx(week().novelty(person(3), at(3), "new"), abs=1e-5)


def test_adding_a_video_again_changes_nothing() -> None:
    history = camera().add_to(CameraHistory())
    hours = history.hours
    camera(3, 1).add_to(history)
    camera(0, 2).add_to(history)
    assert rows_of(history) == rows_of(week())
    assert history.hours == hours


def test_recent_days_have_more_rows_than_old_ones() -> None:
    rows = week()._rows
    assert rows is not None
    days = np.bincount(rows.recorded // DAY - FIRST_DAY)
    assert len(days) == 7
    assert days[-1] > 1.1 * days[0] > 0


def test_hours_are_estimated_after_rows_are_dropped() -> None:
    assert week().hours == pytest.approx(7 * 24, rel=0.1)
    assert camera(days=1).add_to(CameraHistory()).hours == pytest.approx(24)


def event(day: int, name: str) -> Footage:
    """An event of ten minutes at 3 h."""
    recorded = at(3, day) + np.arange(10) * 60_000
    noise = 0.02 * np.random.default_rng(day).normal(size=(10, DIM))
    return Footage(recorded, l2_normalize(VIEW + NIGHT + EVENT + noise), name)


@pytest.mark.parametrize(("occasions", "is_novel"), [(0, True), (1, True), (2, True), (5, False)])
def test_an_event_stays_novel_until_it_occurred_on_several_occasions(occasions: int, is_novel: bool) -> None:
    history = camera().add_to(CameraHistory())
    for day in range(7 - occasions, 7):
        event(day, f"event {day}").add_to(history)
    score = event(7, "new").scores(history).max()
    assert (score >= 0.5) == is_novel


def test_a_video_in_the_history_scores_as_if_it_were_not() -> None:
    new = event(7, "new")
    before = week().novelty(new.vectors, new.recorded, "new")
    history = camera().add_to(CameraHistory())
    history.add([f"row {n}" for n in range(10)], new.vectors, new.recorded, "new")
    assert history.novelty(new.vectors, new.recorded, "new") == pytest.approx(before, abs=0.02)
    assert before.min() > 0.5


def test_footage_of_the_same_quarter_of_an_hour_does_not_count() -> None:
    history = camera().add_to(CameraHistory())
    event(7, "previous file").add_to(history)
    assert event(7, "new").scores(history).min() > 0.5


def test_a_slow_change_of_light_is_not_novel() -> None:
    step = 0.08
    history = camera(0, 14, light=step).add_to(CameraHistory())
    assert (camera(14, 1, light=step).scores(history) >= 0.5).mean() < 0.02
    jump = Footage(at(3, 14), l2_normalize((VIEW + NIGHT + (14 * step + 2) * LIGHT)[None]))
    assert jump.scores(history)[0] > 0.5


def test_a_moved_camera_learns_again() -> None:
    history = camera().add_to(CameraHistory())
    assert history.moved_at is None
    moved = camera(7, 1, view=OTHER_VIEW, name="moved")
    first = Footage(moved.recorded[40:48], moved.vectors[40:48], "moved")
    assert np.median(first.scores(history)) > 0.5
    Footage(moved.recorded[40:], moved.vectors[40:], "moved").add_to(history)
    assert history.moved_at == moved.recorded[40]
    assert history.hours == pytest.approx(21.5, rel=0.1)
    assert "moved at 2024-10-11 02:30 UTC; learning:" in history.status
    assert history.learned < 1


def test_a_camera_that_returns_to_its_view_was_not_moved() -> None:
    history = camera().add_to(CameraHistory())
    away = camera(7, 1, view=OTHER_VIEW, name="away")
    Footage(away.recorded[40:60], away.vectors[40:60], "away").add_to(history)
    assert history.moved_at is not None
    Footage(camera(7, 1).recorded[60:], camera(7, 1).vectors[60:]).add_to(history)
    assert history.moved_at is None


def test_the_first_night_is_not_a_move() -> None:
    footage = camera()
    is_day = (footage.recorded % DAY >= 7 * HOUR) & (footage.recorded % DAY < 20 * HOUR)
    history = Footage(footage.recorded[is_day], footage.vectors[is_day]).add_to(CameraHistory())
    night = camera(7, 2)
    Footage(night.recorded[80:120], night.vectors[80:120]).add_to(history)
    assert history.moved_at is None


def test_novelty_counts_by_half_at_an_unknown_time_of_day() -> None:
    footage = camera()
    is_day = (footage.recorded % DAY >= 7 * HOUR) & (footage.recorded % DAY < 20 * HOUR)
    history = Footage(footage.recorded[is_day], footage.vectors[is_day]).add_to(CameraHistory())
    assert 0.25 < history.novelty(l2_normalize(-VIEW[None]), at(2), "new")[0] < 0.5


def test_a_new_camera_says_how_much_it_has_learned() -> None:
    history = CameraHistory()
    assert (history.hours, history.learned, history.moved_at) == (0, 0, None)
    assert history.status == "learning: 0 minutes seen"
    assert history.novelty(person(3), at(3), "new").tolist() == [0.0]
    footage = camera()
    Footage(footage.recorded[:11], footage.vectors[:11]).add_to(history)
    assert history.status == "learning: 41 minutes seen"
    assert 0 < history.learned < 0.05
    footage.add_to(history)
    assert history.learned == 1
    assert history.status.startswith("learned from 1")


def test_novelty_within_the_video_is_used_as_far_as_the_history_is_unknown() -> None:
    history, within = np.array([0.0, 1.0], np.float32), np.array([0.8, 0.0], np.float32)
    assert blend_novelty(history, within, 0.0).tolist() == pytest.approx([0.8, 0.0])
    assert blend_novelty(history, within, 0.25).tolist() == pytest.approx([0.6, 0.25])
    assert blend_novelty(history, within, 1.0).tolist() == [0.0, 1.0]


def test_undated_videos_are_occasions() -> None:
    history, rng = CameraHistory(), np.random.default_rng(5)
    undated = np.full(50, UNDATED)

    def video(event_share: float) -> np.ndarray:
        return l2_normalize(VIEW + event_share * EVENT + 0.02 * rng.normal(size=(50, DIM)))

    for number in range(30):
        history.add([f"{number} {row}" for row in range(50)], video(0), undated, f"v{number}", np.full(50, 60.0))
    assert history.learned == 1
    assert history.hours == pytest.approx(25)
    for number in range(2):
        history.add([f"event {number} {row}" for row in range(50)], video(1), undated, f"event {number}")
    assert history.novelty(video(1), undated, "new").min() > 0.5
    assert history.novelty(video(0), undated, "new").max() < 0.4
    for number in range(2, 5):
        history.add([f"event {number} {row}" for row in range(50)], video(1), undated, f"event {number}")
    assert history.novelty(video(1), undated, "new").max() < 0.5


@given(st.integers(0, 300), st.integers(0, 9), st.booleans())
def test_novelty_is_finite_and_in_range(n: int, seed: int, is_dated: bool) -> None:
    rng = np.random.default_rng(seed)
    history = CameraHistory()
    recorded = rng.integers(0, 3 * DAY, n) if is_dated else np.full(n, UNDATED)
    vectors = l2_normalize(rng.normal(size=(n, 4)))
    history.add([str(row) for row in range(n)], vectors, recorded, [f"v{row // 7}" for row in range(n)])
    scores = history.novelty(vectors, recorded, "v3")
    assert (scores.shape, scores.dtype) == ((n,), np.float32)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores < 1)).all()
    assert 0 <= history.learned <= 1
