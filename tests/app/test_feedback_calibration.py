from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from tests.app.test_conversation import make_moment
from var_plugin.app.feedback import Feedback
from var_plugin.app.feedback_calibration import MIN_PER_CLASS, calibrate
from var_plugin.retrievers.grades import grade_of_probability


def judged(score: float, is_right: bool) -> Feedback:
    return Feedback(
        created_at=datetime(2026, 11, 1, tzinfo=UTC), text="a lion", query_fields=("text",), video_id="v", camera="c",
        start=0, end=8, peak=4, score=score, matched={}, suite="s", is_right=is_right,
    )  # fmt: skip


def sample_feedback(number: int, slope: float = 1.5, midpoint: float = 2.0, seed: int = 0) -> list[Feedback]:
    random = np.random.default_rng(seed)
    scores = random.uniform(-1, 5, number)
    right = random.random(number) < 1 / (1 + np.exp(-slope * (scores - midpoint)))
    return [judged(score, bool(is_right)) for score, is_right in zip(scores.tolist(), right, strict=True)]


def test_the_fit_recovers_the_curve_of_sampled_feedback() -> None:
    curve = calibrate(sample_feedback(2000), ["text"], "s")
    assert curve
    assert (curve.slope, curve.midpoint) == (pytest.approx(1.5, abs=0.25), pytest.approx(2.0, abs=0.15))


def test_sixty_judgements_beat_the_base_rate() -> None:
    """On held-out feedback the Brier score is below that of a constant prediction of the base rate."""
    better = 0
    for seed in range(10):
        curve = calibrate(sample_feedback(60, seed=seed), ["text"], "s")
        assert curve
        held_out = sample_feedback(500, seed=100 + seed)
        right = np.array([entry.is_right for entry in held_out], float)
        predictions = np.array([curve.confidence(entry.score) for entry in held_out])
        better += float(np.mean((predictions - right) ** 2)) < float(np.mean((right.mean() - right) ** 2))
    assert better == 10


def test_too_few_judgements_give_no_curve() -> None:
    many = [judged(5.0, True)] * 50
    assert calibrate([*many, *[judged(0.0, False)] * (MIN_PER_CLASS - 1)], ["text"], "s") is None
    assert calibrate([*many, *[judged(0.0, False)] * MIN_PER_CLASS], ["text"], "s")
    assert calibrate([*many, *[judged(9.0, False)] * MIN_PER_CLASS], ["text"], "s") is None, (
        "the probability falls with the score"
    )


def test_feedback_on_other_queries_and_suites_is_ignored() -> None:
    feedback = sample_feedback(100)
    assert calibrate(feedback, ["image"], "s") is None
    assert calibrate(feedback, ["text"], "another suite") is None


def test_a_confidence_from_the_suite_is_kept() -> None:
    curve = calibrate(sample_feedback(100), ["text"], "s")
    assert curve
    uncalibrated, calibrated = (
        make_moment(1, "north", None),
        make_moment(2, "north", None).model_copy(update={"confidence": 0.25}),
    )
    first, second = curve.add_confidence([uncalibrated, calibrated])
    assert first.confidence == pytest.approx(curve.confidence(uncalibrated.score))
    assert first.grade == grade_of_probability(first.confidence)
    assert (second.confidence, second.grade) == (0.25, None)
