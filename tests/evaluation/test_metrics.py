from __future__ import annotations

import numpy as np
import pytest

from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.metrics import chance, frame_auc, from_ranks, pair_ranks, ranks, retrieval


def brute_force_rank(row: np.ndarray, target: int) -> float:
    """Return the mean rank of the target between the best and the worst order of its ties."""
    best = sum(score > row[target] for score in row)
    worst = sum(score >= row[target] for score in row) - 1
    return 1 + (best + worst) / 2


def test_ranks_agree_with_sorting_including_ties() -> None:
    scores = np.random.default_rng(0).integers(0, 6, (40, 40)).astype(float)
    forward, backward = pair_ranks(scores)
    assert forward.tolist() == [brute_force_rank(scores[i], i) for i in range(40)]
    assert backward.tolist() == [brute_force_rank(scores[:, i], i) for i in range(40)]


def test_a_constant_score_has_the_middle_rank_and_no_recall() -> None:
    result = retrieval(np.zeros((101, 101)))
    assert result.query_to_video.median_rank == 51
    assert result.recall_sum == 0


def test_perfect_scores_have_full_recall() -> None:
    result = retrieval(np.eye(12))
    assert result.recall_sum == 600
    assert result.query_to_video.median_rank == result.video_to_query.median_rank == 1


def test_equal_captions_tie_when_strict_and_both_count_when_merged() -> None:
    captions = ["A man walks. ", "a man walks.", "a car burns."]
    scores = np.array([[0.9, 0.8, 0.1], [0.9, 0.8, 0.1], [0.0, 0.2, 0.7]])
    strict_forward, strict_backward = pair_ranks(scores)
    assert strict_forward.tolist() == [1, 2, 1]
    assert strict_backward.tolist() == [1.5, 1.5, 1]
    merged_forward, merged_backward = pair_ranks(scores, merge_equal=captions)
    assert merged_forward.tolist() == [1, 1, 1]
    assert merged_backward.tolist() == [1, 1, 1]


def test_the_best_of_several_relevant_candidates_counts() -> None:
    scores = np.array([[0.5, 0.9, 0.7, 0.1]])
    assert ranks(scores, np.array([[True, False, True, False]])).tolist() == [2]


def test_chance_is_the_result_of_random_scores() -> None:
    rng = np.random.default_rng(1)
    drawn = [retrieval(rng.random((50, 50))) for _ in range(200)]
    expected = chance(50)
    assert expected.query_to_video.median_rank == 25.5
    assert np.mean([one.recall_sum for one in drawn]) == pytest.approx(expected.recall_sum, rel=0.05)


def test_a_single_query_or_video_has_no_interval() -> None:
    single = retrieval(np.ones((1, 1)), resamples=50)
    assert (single.recall_sum, single.intervals) == (600, None)
    one, two = np.ones(1), np.ones(2)
    assert from_ranks(two, one, resamples=50).intervals is None
    assert from_ranks(one, two, resamples=50).intervals is None
    assert retrieval(np.eye(2), resamples=50).intervals is not None


def test_intervals_contain_the_value_and_shrink_with_more_queries() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for count in (50, 400):
        result = retrieval(rng.normal(size=(count, count)) + 2.5 * np.eye(count), resamples=500)
        assert result.intervals is not None
        for name, value in result.named_values().items():
            assert result.intervals[name].low <= value <= result.intervals[name].high
        widths.append(result.intervals["SumR"].high - result.intervals["SumR"].low)
    assert widths[1] < widths[0]


def test_intervals_have_their_nominal_coverage() -> None:
    rng = np.random.default_rng(3)
    gallery = rng.normal(size=(4000, 20))
    truth = 100 * np.mean(gallery[:, 0] + 2 >= gallery[:, 1:].max(axis=1))
    covered = 0
    for trial in range(100):
        # 20 pairs whose own score is raised by 2: R@1 of the query direction has the expectation `truth`.
        scores = rng.normal(size=(20, 20)) + 2 * np.eye(20)
        intervals = retrieval(scores, resamples=300, seed=trial).intervals
        assert intervals is not None
        covered += intervals["query_to_video/R@1"].low <= truth <= intervals["query_to_video/R@1"].high
    assert 85 <= covered <= 100


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="NaN"):
        retrieval(np.full((3, 3), np.nan))
    with pytest.raises(InvalidInputError, match="square"):
        retrieval(np.zeros((3, 4)))
    with pytest.raises(InvalidInputError, match="2 captions"):
        pair_ranks(np.zeros((3, 3)), merge_equal=["a", "b"])
    with pytest.raises(InvalidInputError, match="relevant"):
        ranks(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool))


def test_frame_auc_is_over_all_videos_and_needs_both_classes() -> None:
    scores = [np.array([0.1, 0.9]), np.array([0.2, 0.3])]
    truth = [np.array([False, True]), np.array([False, False])]
    assert frame_auc(scores, truth) == 1.0
    with pytest.raises(InvalidInputError, match="anomalous and normal"):
        frame_auc(scores, [np.zeros(2, dtype=bool)] * 2)
