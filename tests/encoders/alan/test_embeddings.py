"""Positions and segments of the sequence under different settings."""

from __future__ import annotations

import torch

from var_plugin.encoders.alan.embeddings import ClipSequence, gather_clips, pool_sequence, sinusoidal_embedding

SAMPLES = [torch.tensor([[0, 4]]), torch.tensor([[3, 3, 9]])]


def positions_in(sequence: ClipSequence, extent: int) -> torch.Tensor:
    """Return the position embeddings: a sequence of zero features with zero segment embeddings."""
    torch.nn.init.zeros_(sequence.segments.weight)
    return sequence(torch.zeros(1, 5, 16), SAMPLES, torch.tensor([extent]))[0]


def test_positions_count_time(make_config):
    embedded = positions_in(ClipSequence(make_config()), 10)
    torch.testing.assert_close(embedded, sinusoidal_embedding(torch.tensor([0, 1, 5, 0, 4, 4, 10]), 16))


def test_positions_count_slots(make_config):
    embedded = positions_in(ClipSequence(make_config(position_source="slot")), 10)
    torch.testing.assert_close(embedded, sinusoidal_embedding(torch.arange(7), 16))


def test_learned_positions_are_relative_to_the_length(make_config):
    config = make_config(position_embedding="learned", num_position_bins=4)
    sequence = ClipSequence(config)
    table = sequence.positions.bins.weight
    # 11 positions, CLS and ten clips, in 4 bins: 0-2, 3-5, 6-8, 9-10.
    torch.testing.assert_close(positions_in(sequence, 10), table[[0, 0, 1, 0, 1, 1, 3]])
    torch.testing.assert_close(positions_in(sequence, 1000), table[[0] * 7])


def test_one_sampling_alone_has_one_segment(make_config):
    sequence = ClipSequence(make_config(num_fixed_clips=0))
    built = sequence(torch.randn(1, 3, 16), SAMPLES[1:], torch.tensor([10]))
    assert built.shape == (1, 4, 16)
    g, h, clips = pool_sequence(built, [3])
    torch.testing.assert_close(g, built[:, 0])
    torch.testing.assert_close(h, built[:, 1:].mean(dim=1))
    torch.testing.assert_close(clips, built[:, 1:])


def test_cls_is_the_mean_of_its_clips(make_config):
    sequence = ClipSequence(make_config())
    features = torch.randn(1, 10, 16)
    with_features = sequence(gather_clips(features, SAMPLES), SAMPLES, torch.tensor([10]))
    without = sequence(torch.zeros(1, 5, 16), SAMPLES, torch.tensor([10]))
    torch.testing.assert_close((with_features - without)[0, 3], features[0, [3, 3, 9]].mean(dim=0))
