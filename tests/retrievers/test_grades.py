"""Grades by the lead over the other moments."""

from __future__ import annotations

import pytest

from var_plugin.retrievers.grades import COMPARED, MIN_COMPARED, grade_of_lead, grade_of_probability, lead


def test_the_lead_is_over_the_mean_of_the_ten_that_follow() -> None:
    scores = [4.0, 3.0, *[1.0] * COMPARED, *[-9.0] * 5]
    assert lead(scores, 0) == pytest.approx(4.0 - (3.0 + 9 * 1.0) / 10)
    assert lead(scores, 1) == pytest.approx(2.0)


def test_there_is_no_lead_over_too_few() -> None:
    assert lead([2.0] + [1.0] * MIN_COMPARED, 0) == 1.0
    assert lead([2.0] + [1.0] * (MIN_COMPARED - 1), 0) is None
    assert grade_of_lead(None) is None


@pytest.mark.parametrize(
    ("value", "grade"), [(1.5, "strong"), (1.49, "possible"), (0.8, "possible"), (0.79, "weak"), (0.0, "weak")]
)
def test_grades_have_limits(value: float, grade: str) -> None:
    assert grade_of_lead(value) == grade


@pytest.mark.parametrize(("value", "grade"), [(0.8, "strong"), (0.5, "possible"), (0.1, "possible"), (0.09, "weak")])
def test_feedback_gives_grades_by_probability(value: float, grade: str) -> None:
    assert grade_of_probability(value) == grade
