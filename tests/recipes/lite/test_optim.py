from __future__ import annotations

import copy
import math

import torch

from recipes.lite.optim import ema_model, warmup_cosine_schedule


def test_moving_average_matches_its_formula() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    expected = copy.deepcopy(model)
    averaged = ema_model(model, 0.6)
    for step in range(1, 31):
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn_like(value))
            for mean, value in zip(expected.parameters(), model.parameters(), strict=True):
                mean.lerp_(value, 1 - min(0.6, step / (step + 10)))
        averaged.update_parameters(model)
        for mean, value in zip(expected.parameters(), averaged.module.parameters(), strict=True):
            assert torch.equal(mean, value)


def test_schedule_warms_up_and_decays_to_zero() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_cosine_schedule(optimizer, steps=10, warmup_steps=4)
    rates = []
    for _ in range(11):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0
    assert rates[2] == 2 * 0.5 * (1 + math.cos(math.pi * 0.2)) / 2
    assert max(rates) == rates[4]
    assert rates[10] < 1e-12
