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


def test_samples_depend_on_the_seed_only(drawn: SyntheticBenchmark) -> None:
    again = generate_benchmark(SyntheticParameters(train_videos=40, test_videos=100), seed=7)
    other = generate_benchmark(SyntheticParameters(train_videos=40, test_videos=100), seed=8)
    assert [pair.caption for pair in again.test.pairs] == [pair.caption for pair in drawn.test.pairs]
    assert np.array_equal(again.test.pairs[5].object_clips, drawn.test.pairs[5].object_clips)
    assert [pair.caption for pair in other.test.pairs] != [pair.caption for pair in drawn.test.pairs]


def test_samples_have_the_declared_shapes_lengths_and_labels(drawn: SyntheticBenchmark) -> None:
    parameters = SyntheticParameters()
    pairs = drawn.train.pairs + drawn.test.pairs
    assert len({pair.caption for pair in pairs}) == len(pairs)
    assert sum(pair.anomalous for pair in pairs) == len(pairs) // 2
    for pair, evidence in zip(pairs, drawn.train.evidence + drawn.test.evidence, strict=True):
        assert parameters.length[0] <= len(evidence) <= parameters.length[1]
        assert np.shape(pair.object_clips) == np.shape(pair.motion_clips) == (len(evidence), parameters.dim)
        if pair.anomalous:
            assert parameters.anomaly[0] <= evidence.sum() <= parameters.anomaly[1]
            assert np.flatnonzero(np.diff(evidence.astype(int), prepend=0) == 1).size == 1, "one span"
        else:
            assert evidence.any()


def test_anomalous_videos_are_retrieved_by_their_evidence_only(drawn: SyntheticBenchmark) -> None:
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
