"""Detector scores depend on one video alone. The top-k loss uses max(1, T // 16) clips."""

from __future__ import annotations

import math

import pytest
import torch

from var_plugin.encoders.alan.detector import AnomalyDetector, topk_loss, topk_score


def test_scores_do_not_depend_on_padding(make_config):
    detector = AnomalyDetector(make_config(), 12).eval()
    features = torch.randn(1, 30, 12)
    mask = torch.arange(30).unsqueeze(0) < 11
    padded = detector(features, mask)
    alone = detector(features[:, :11], mask[:, :11])
    torch.testing.assert_close(padded[:, :11], alone)
    assert padded[:, 11:].eq(0).all()


def test_causal_scores_do_not_depend_on_later_clips(make_config):
    detector = AnomalyDetector(make_config(detector_padding="causal"), 12).eval()
    features, mask = torch.randn(1, 30, 12), torch.ones(1, 30, dtype=torch.bool)
    changed = features.clone()
    changed[:, 20:] += 1
    torch.testing.assert_close(detector(features, mask)[:, :20], detector(changed, mask)[:, :20])
    assert not torch.equal(detector(features, mask)[:, 20:], detector(changed, mask)[:, 20:])


@pytest.mark.parametrize(("length", "k"), [(1, 1), (15, 1), (16, 1), (31, 1), (32, 2), (100, 6)])
def test_topk_score_averages_k_clips(length, k):
    scores = torch.rand(1, 120)
    mask = torch.arange(120).unsqueeze(0) < length
    highest = sorted(scores[0, :length].tolist())[-k:]
    assert topk_score(scores, mask, 16).item() == pytest.approx(sum(highest) / k, rel=1e-5)


def test_topk_loss_and_gradient_match_the_equation():
    """-[y log ρ + (1-y) log(1-ρ)] averaged over videos; dL/dl = (ρ-y) / (ρ(1-ρ)) / k / B at the k highest clips."""
    scores = torch.rand(3, 40, dtype=torch.float64).mul(0.8).add(0.1).requires_grad_()
    lengths, labels = [40, 33, 5], [1, 0, 1]
    mask = torch.arange(40) < torch.tensor(lengths).unsqueeze(1)
    loss = topk_loss(scores, mask, torch.tensor(labels), 16)
    loss.backward()
    expected, gradient = 0.0, torch.zeros(3, 40, dtype=torch.float64)
    for i, (length, y) in enumerate(zip(lengths, labels, strict=True)):
        k = max(1, length // 16)
        order = sorted(range(length), key=lambda t, i=i: -scores[i, t].item())[:k]
        rho = sum(scores[i, t].item() for t in order) / k
        expected -= (y * math.log(rho) + (1 - y) * math.log(1 - rho)) / 3
        for t in order:
            gradient[i, t] = (rho - y) / (rho * (1 - rho)) / k / 3
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(scores.grad, gradient, rtol=1e-4, atol=1e-6)


def test_topk_loss_is_finite_for_saturated_wrong_scores():
    scores = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    loss = topk_loss(scores, torch.ones(2, 2, dtype=torch.bool), torch.tensor([1, 0]), 16)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()


def test_topk_loss_is_float32_under_autocast():
    scores = torch.rand(2, 20).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = topk_loss(scores, torch.ones(2, 20, dtype=torch.bool), torch.tensor([1, 0]), 16)
    assert loss.dtype == torch.float32
    assert loss.isfinite()
