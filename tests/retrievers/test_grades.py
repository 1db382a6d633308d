"""Grades by the lead over the other moments."""

from __future__ import annotations

import pytest

from var_plugin.index.rows import Hit
from var_plugin.retrievers.grades import (
    COMPARED,
    MIN_COMPARED,
    grade_of_lead,
    grade_of_probability,
    lead,
    with_leads,
)
from var_plugin.retrievers.moments import Peak, Scored


def make_peak(score: float) -> Peak:
    hit = Hit("video", "north", "uniform", 0.0, 8.0, 4.0, -1, 0.1, score)
    return Peak(Scored(hit, {"scene": score}), 0.0, 8.0, hit)


def test_the_lead_is_over_the_mean_of_the_ten_that_follow() -> None:
    peaks = [make_peak(score) for score in (4.0, 3.0, *[1.0] * COMPARED, *[-9.0] * 5)]
    first, second, *_ = with_leads(iter(peaks))
    assert first.lead == pytest.approx(4.0 - (3.0 + 9 * 1.0) / 10)
    assert second.lead == pytest.approx(2.0)
    assert [peak.best.score for peak in with_leads(iter(peaks))] == [peak.best.score for peak in peaks]


def test_peaks_are_read_no_further_than_needed() -> None:
    peaks = iter([make_peak(1.0)] * 30)
    next(with_leads(peaks))
    assert len(list(peaks)) == 30 - COMPARED - 1


def test_there_is_no_lead_over_too_few() -> None:
    assert lead(2.0, [1.0] * MIN_COMPARED) == 1.0
    assert lead(2.0, [1.0] * (MIN_COMPARED - 1)) is None
    assert grade_of_lead(None) is None


@pytest.mark.parametrize(
    ("value", "grade"), [(1.5, "strong"), (1.49, "possible"), (0.8, "possible"), (0.79, "weak"), (0.0, "weak")]
)
def test_grades_have_limits(value: float, grade: str) -> None:
    assert grade_of_lead(value) == grade


@pytest.mark.parametrize(("value", "grade"), [(0.8, "strong"), (0.5, "possible"), (0.1, "possible"), (0.09, "weak")])
def test_feedback_gives_grades_by_probability(value: float, grade: str) -> None:
    assert grade_of_probability(value) == grade
