from __future__ import annotations

import torch

from tests.tolerances import FLOAT32
from var_plugin.encoders.lite.networks import AudioCNN
from var_plugin.encoders.weights import LITE, WeightFolder

SHIPPED = WeightFolder(LITE, "sound", depends_on="")


def windows() -> torch.Tensor:
    return torch.randn(3, 96, 64, generator=torch.Generator().manual_seed(0)) - 3


def test_every_window_has_features_of_its_own() -> None:
    torch.manual_seed(0)
    network = AudioCNN((4, 8, 16), residuals=2, features=32).eval()
    with torch.inference_mode():
        together = network(windows())
        alone = torch.cat([network(window[None]) for window in windows()])
    assert together.shape == (3, 32)
    assert torch.allclose(together, alone, atol=FLOAT32)
    assert not torch.allclose(together[0], together[1])


def test_stages_halve_time_and_frequency() -> None:
    network = AudioCNN((4, 8, 16, 24), residuals=1, features=32).eval()
    with torch.inference_mode():
        maps = network.maps(windows())
        assert [tuple(each.shape[1:]) for each in maps] == [(8, 12, 8), (16, 6, 4), (24, 3, 2)]
        assert torch.allclose(network.summary(maps[-1]), network(windows()), atol=FLOAT32)


def test_the_shipped_network_is_the_one_described() -> None:
    network = AudioCNN(**SHIPPED.configuration["network"])
    network.load_state_dict(SHIPPED.part("network"))
    with torch.inference_mode():
        assert torch.isfinite(network.eval()(windows())).all()
