"""Statistics and edge cases of fixed-frame and anomaly-led sampling."""

from __future__ import annotations

import math

import pytest
import torch

from var_plugin.encoders.alan.sampling import (
    ClipSampler,
    clip_lengths,
    fixed_frame_sampling,
    roulette_wheel,
    selection_probabilities,
)
from var_plugin.errors import InvalidInputError


def mask_of(*lengths: int, width: int | None = None) -> torch.Tensor:
    return torch.arange(width or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def upper_tail(chi_square: float, freedom: int) -> float:
    """Return P(X ≥ chi_square) by the cube-root approximation of Wilson and Hilferty."""
    z = ((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return 0.5 * math.erfc(z / math.sqrt(2))


def test_probabilities_match_the_equation():
    scores = torch.tensor([[0.0, 1.0, 0.5, 0.9]])
    weights = [math.exp(score / 0.7) for score in (0.0, 1.0, 0.5)]
    expected = [weight / sum(weights) for weight in weights] + [0.0]
    assert selection_probabilities(scores, mask_of(3, width=4), 0.7)[0].tolist() == pytest.approx(expected)
    linear = selection_probabilities(scores, mask_of(3, width=4), 0.7, "linear")
    assert linear[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0])


def test_linear_probabilities_of_zero_scores_are_uniform():
    probabilities = selection_probabilities(torch.zeros(1, 4), mask_of(3, width=4), 0.7, "linear")
    assert probabilities[0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_frequencies_match_probabilities():
    scores = torch.rand(2, 40, generator=torch.Generator().manual_seed(3))
    mask = mask_of(40, 25)
    probabilities = selection_probabilities(scores, mask, 0.7)
    count = 60_000
    samples = roulette_wheel(probabilities, count, generator=torch.Generator().manual_seed(4))
    for row, length in enumerate((40, 25)):
        counts = torch.bincount(samples[row], minlength=40).double()
        expected = probabilities[row].double() * count
        assert counts[length:].sum() == 0
        chi_square = ((counts - expected) ** 2 / expected)[:length].sum().item()
        assert 0.001 < upper_tail(chi_square, length - 1) < 0.999


def test_chi_square_test_detects_a_wrong_temperature():
    """Samples at τ = 0.7 fail the chi-square test above against τ = 0.6."""
    scores = torch.rand(1, 40, generator=torch.Generator().manual_seed(3))
    count = 60_000
    mask = mask_of(40)
    samples = roulette_wheel(
        selection_probabilities(scores, mask, 0.7), count, generator=torch.Generator().manual_seed(4)
    )
    expected = selection_probabilities(scores, mask, 0.6)[0].double() * count
    chi_square = ((torch.bincount(samples[0], minlength=40) - expected) ** 2 / expected).sum().item()
    assert upper_tail(chi_square, 39) < 1e-6


def test_padding_is_never_sampled():
    lengths = torch.arange(1, 65)
    mask = mask_of(*lengths.tolist(), width=200)
    # Padding has the highest scores.
    probabilities = selection_probabilities(torch.where(mask, 0.1, 1.0), mask, 0.7)
    samples = roulette_wheel(probabilities, 5_000, generator=torch.Generator().manual_seed(0))
    assert (samples < lengths.unsqueeze(1)).all()
    assert (samples >= 0).all()


@pytest.mark.parametrize("systematic", [True, False])
def test_clip_with_probability_one_is_always_sampled(systematic):
    probabilities = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    assert roulette_wheel(probabilities, 500, systematic=systematic).eq(2).all()


def test_systematic_counts_match_the_probabilities_to_within_one():
    probabilities = torch.softmax(torch.randn(1, 30), dim=1)
    counts = torch.bincount(roulette_wheel(probabilities, 1000, systematic=True)[0], minlength=30)
    assert (counts - probabilities[0] * 1000).abs().max() <= 1


def test_long_video_never_samples_past_the_last_clip():
    """Rounding over 100,000 clips makes the last q differ from 1."""
    mask = mask_of(100_000, width=100_016)
    probabilities = selection_probabilities(torch.rand(1, 100_016), mask, 0.7)
    samples = roulette_wheel(probabilities, 20_000, systematic=True)
    assert samples.max() < 100_000


def test_same_generator_seed_gives_the_same_clips():
    probabilities = torch.full((2, 50), 0.02)
    first, again, other = (
        roulette_wheel(probabilities, 20, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("length", [1, 3, 50, 51, 1000])
def test_fixed_sampling_takes_one_clip_from_each_part(length, random):
    clips = fixed_frame_sampling(torch.tensor([length]), 50, random=random)[0].tolist()
    for part, clip in enumerate(clips):
        assert math.floor(part * length / 50) <= clip <= min(length - 1, (part + 1) * length / 50)
    assert clips == sorted(clips)


def test_uniform_sampling_of_all_clips_takes_each_once():
    assert fixed_frame_sampling(torch.tensor([50]), 50, random=False)[0].tolist() == list(range(50))


def test_random_fixed_sampling_is_uniform_within_parts():
    samples = torch.cat([fixed_frame_sampling(torch.full((2000,), 10), 2, random=True)])
    for part in (0, 1):
        counts = torch.bincount(samples[:, part] - 5 * part, minlength=5)
        assert 0.001 < upper_tail(((counts - 400.0) ** 2 / 400).sum().item(), 4) < 0.9999


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_video_with_fewer_clips_than_n_repeats_clips(make_config, length, training):
    sampler = ClipSampler(make_config(num_fixed_clips=50, num_anomaly_clips=50)).train(training)
    fixed, anomaly_led = sampler(torch.rand(1, 9), mask_of(length, width=9))
    assert fixed.shape == anomaly_led.shape == (1, 50)
    assert fixed.unique().tolist() == list(range(length))
    assert anomaly_led.max() < length


def test_evaluation_is_deterministic_and_training_is_random(make_config):
    sampler = ClipSampler(make_config(num_fixed_clips=20, num_anomaly_clips=20))
    scores, mask = torch.rand(2, 200), mask_of(200, 90)
    trained = [torch.cat(sampler.train()(scores, mask), dim=1) for _ in range(2)]
    evaluated = [torch.cat(sampler.eval()(scores, mask), dim=1) for _ in range(2)]
    assert not torch.equal(*trained)
    assert torch.equal(*evaluated)


def test_random_evaluation_follows_its_generator(make_config):
    sampler = ClipSampler(make_config(anomaly_sampling_in_evaluation="random", num_fixed_clips=0)).eval()
    scores, mask = torch.rand(2, 200), mask_of(200, 90)
    samples = [sampler(scores, mask, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_sampling_order_can_be_preserved(make_config):
    scores, mask = torch.rand(1, 200), mask_of(200)
    ordered, unordered = (
        ClipSampler(make_config(sort_anomaly_clips=sort, num_fixed_clips=0))(
            scores, mask, torch.Generator().manual_seed(1)
        )[0]
        for sort in (True, False)
    )
    assert not torch.equal(ordered, unordered)
    assert torch.equal(ordered, unordered.sort(dim=1).values)


@pytest.mark.parametrize("mask", [[[True, False], [False, False]], [[False, True], [True, True]]])
def test_invalid_mask_is_rejected(mask):
    with pytest.raises(InvalidInputError, match="clip mask"):
        clip_lengths(torch.tensor(mask))
