"""Ranking and total loss against their equations, with hand-computed gradients."""

from __future__ import annotations

import pytest
import torch

from var_plugin.encoders.alan.losses import max_margin_loss, total_loss
from var_plugin.errors import InvalidInputError


def hinge_by_hand(s, margin, scale, ignored=()):
    """Eq. 6 and its gradient, term by term, each divided by `scale`."""
    n = len(s)
    loss, gradient = 0.0, torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            if i == j or (i, j) in ignored:
                continue
            for row, column in ((i, j), (j, i)):
                value = s[row, column].item() - s[i, i].item() + margin
                if value > 0:
                    loss += value / scale
                    gradient[row, column] += 1 / scale
                    gradient[i, i] -= 1 / scale
    return loss, gradient


@pytest.mark.parametrize(("reduction", "scale"), [("mean", 2 * 6 * 5), ("batch", 6)])
def test_max_margin_loss_matches_the_equation(reduction, scale):
    scores = torch.rand(6, 6, dtype=torch.float64, requires_grad=True)
    loss = max_margin_loss(scores, 0.05, reduction)
    loss.backward()
    expected, gradient = hinge_by_hand(scores.detach(), 0.05, scale)
    assert loss.item() == pytest.approx(expected)
    torch.testing.assert_close(scores.grad, gradient)


def test_ignored_pairs_are_not_negatives():
    scores = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    same = torch.eye(4, dtype=torch.bool)
    same[0, 2] = same[2, 0] = True
    loss = max_margin_loss(scores, 0.05, "mean", same)
    loss.backward()
    expected, gradient = hinge_by_hand(scores.detach(), 0.05, 2 * (12 - 2), ignored={(0, 2), (2, 0)})
    assert loss.item() == pytest.approx(expected)
    torch.testing.assert_close(scores.grad, gradient)


def test_single_pair_has_zero_loss():
    assert max_margin_loss(torch.tensor([[-1.0]]), 0.05).item() == 0


def test_satisfied_margins_have_zero_loss():
    scores = torch.eye(5, dtype=torch.float64) * 0.1
    assert max_margin_loss(scores, 0.05).item() == 0
    assert max_margin_loss(scores, 0.15).item() == pytest.approx(0.05)


def test_non_square_scores_are_rejected():
    with pytest.raises(InvalidInputError, match="3 videos and 4 queries"):
        max_margin_loss(torch.zeros(3, 4), 0.05)


def test_total_loss_is_the_weighted_sum(make_config):
    config = make_config(topk_loss_weight=0.1, mpm_loss_weight=0.01)
    parts = [torch.tensor(value, requires_grad=True) for value in (2.0, 3.0, 5.0)]
    total = total_loss(config, *parts)
    total.backward()
    assert total.item() == pytest.approx(2 + 0.1 * 3 + 0.01 * 5)
    assert [part.grad.item() for part in parts] == pytest.approx([1, 0.1, 0.01])
    assert total_loss(config, parts[0]).item() == 2
