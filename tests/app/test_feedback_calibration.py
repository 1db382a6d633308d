from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from tests.app.test_conversation import shown
from var_plugin.app.feedback import Mark
from var_plugin.app.feedback_calibration import FEWEST_OF_EACH, calibrate


def mark(score: float, right: bool, asked: tuple[str, ...] = ("text",), suite: str = "s") -> Mark:
    return Mark(
        at=datetime(2026, 11, 1, tzinfo=UTC), text="a lion", asked=asked, video_id="v", camera="c", start=0, end=8, peak=4,  # noqa: E501
        score=score, matched={}, suite=suite, right=right,
    )  # fmt: skip


def drawn(number: int, slope: float = 1.5, middle: float = 2.0, seed: int = 0) -> list[Mark]:
    random = np.random.default_rng(seed)
    scores = random.uniform(-1, 5, number)
    right = random.random(number) < 1 / (1 + np.exp(-slope * (scores - middle)))
    return [mark(score, bool(is_right)) for score, is_right in zip(scores.tolist(), right, strict=True)]


def test_it_finds_the_curve_that_the_marks_were_drawn_from() -> None:
    found = calibrate(drawn(2000), ["text"], "s")
    assert found
    assert (found.slope, found.middle) == (pytest.approx(1.5, abs=0.25), pytest.approx(2.0, abs=0.15))


def test_few_marks_already_beat_the_mean() -> None:
    """On marks it did not see, its Brier score is below that of always telling the share of right ones."""
    better = 0
    for seed in range(10):
        found = calibrate(drawn(60, seed=seed), ["text"], "s")
        assert found
        unseen = drawn(500, seed=100 + seed)
        right = np.array([each.right for each in unseen], float)
        told = np.array([found.confidence(each.score) for each in unseen])
        better += float(np.mean((told - right) ** 2)) < float(np.mean((right.mean() - right) ** 2))
    assert better == 10


def test_too_few_say_nothing() -> None:
    many = [mark(5.0, True)] * 50
    assert calibrate([*many, *[mark(0.0, False)] * (FEWEST_OF_EACH - 1)], ["text"], "s") is None
    assert calibrate([*many, *[mark(0.0, False)] * FEWEST_OF_EACH], ["text"], "s")
    assert calibrate([*many, *[mark(9.0, False)] * FEWEST_OF_EACH], ["text"], "s") is None, "upside down"


def test_others_do_not_count() -> None:
    marks = drawn(100)
    assert calibrate(marks, ["image"], "s") is None
    assert calibrate(marks, ["text"], "another suite") is None


def test_a_confidence_of_the_suite_stays() -> None:
    found = calibrate(drawn(100), ["text"], "s")
    assert found
    plain, calibrated = shown(1, "north", None), shown(2, "north", None).model_copy(update={"confidence": 0.25})
    first, second = found.told([plain, calibrated])
    assert first.confidence == pytest.approx(found.confidence(plain.score))
    assert second.confidence == 0.25
