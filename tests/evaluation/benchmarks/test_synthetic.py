from __future__ import annotations

import numpy as np
import pytest

from var_plugin.evaluation.benchmarks.synthetic import (
    SyntheticBenchmark,
    SyntheticParameters,
    generate_benchmark,
    prototype_scores,
)
from var_plugin.evaluation.metrics import chance, pair_ranks


@pytest.fixture(scope="module")
def drawn() -> SyntheticBenchmark:
    return generate_benchmark(SyntheticParameters(train_videos=40, test_videos=100), seed=7)


def test_the_same_seed_draws_the_same_and_another_draws_another(drawn: SyntheticBenchmark) -> None:
    again = generate_benchmark(SyntheticParameters(train_videos=40, test_videos=100), seed=7)
    other = generate_benchmark(SyntheticParameters(train_videos=40, test_videos=100), seed=8)
    assert [pair.caption for pair in again.test.pairs] == [pair.caption for pair in drawn.test.pairs]
    assert np.array_equal(again.test.pairs[5].object_clips, drawn.test.pairs[5].object_clips)
    assert [pair.caption for pair in other.test.pairs] != [pair.caption for pair in drawn.test.pairs]


def test_shapes_lengths_and_labels_are_as_declared(drawn: SyntheticBenchmark) -> None:
    parameters = SyntheticParameters()
    pairs = drawn.train.pairs + drawn.test.pairs
    assert len({pair.caption for pair in pairs}) == len(pairs)
    assert sum(pair.anomalous for pair in pairs) == len(pairs) // 2
    for pair, shown in zip(pairs, drawn.train.evidence + drawn.test.evidence, strict=True):
        assert parameters.length[0] <= len(shown) <= parameters.length[1]
        assert np.shape(pair.object_clips) == np.shape(pair.motion_clips) == (len(shown), parameters.dim)
        if pair.anomalous:
            assert parameters.anomaly[0] <= shown.sum() <= parameters.anomaly[1]
            assert np.flatnonzero(np.diff(shown.astype(int), prepend=0) == 1).size == 1, "one span"
        else:
            assert shown.any()


def test_anomalous_videos_are_found_by_their_evidence_and_not_without_it(drawn: SyntheticBenchmark) -> None:
    anomalous = np.array([pair.anomalous for pair in drawn.test.pairs])
    located, _ = pair_ranks(prototype_scores(drawn, evidence_only=True))
    pooled, _ = pair_ranks(prototype_scores(drawn, evidence_only=False))
    assert np.mean(located <= 1) > 0.95
    assert np.mean(pooled[~anomalous] <= 1) > 0.6, "a normal video is found by all of it"
    assert np.mean(pooled[anomalous] <= 1) < 0.2, "an anomalous one is not"
    assert np.median(pooled[anomalous]) > chance(len(anomalous)).query_to_video.median_rank / 4


def test_only_anomalous_videos_have_anomalous_clips(drawn: SyntheticBenchmark) -> None:
    for pair, clips in zip(drawn.test.pairs, drawn.test.anomalous_clips, strict=True):
        assert clips.any() == pair.anomalous
