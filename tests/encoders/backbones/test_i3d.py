"""Compare I3D with facts about the public checkpoints and with an independent implementation of the description."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.encoders.backbones.published import random_weights
from var_plugin.encoders.backbones.i3d import FRAMES, SIDE, WIDTH, I3d

# Inception-v1 I3D in the order of its layers: convolutions (name, kernel, stride), pools (kernel,
# stride) and blocks by name.
LAYERS = [
    ("conv", "Conv3d_1a_7x7", (7, 7, 7), (2, 2, 2)), ("pool", (1, 3, 3), (1, 2, 2)),
    ("conv", "Conv3d_2b_1x1", (1, 1, 1), (1, 1, 1)), ("conv", "Conv3d_2c_3x3", (3, 3, 3), (1, 1, 1)),
    ("pool", (1, 3, 3), (1, 2, 2)), ("mixed", "Mixed_3b"), ("mixed", "Mixed_3c"), ("pool", (3, 3, 3), (2, 2, 2)),
    ("mixed", "Mixed_4b"), ("mixed", "Mixed_4c"), ("mixed", "Mixed_4d"), ("mixed", "Mixed_4e"), ("mixed", "Mixed_4f"),
    ("pool", (2, 2, 2), (2, 2, 2)), ("mixed", "Mixed_5b"), ("mixed", "Mixed_5c"),
]  # fmt: skip


def windows(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], outside: float) -> Tensor:
    """Return the windows of TensorFlow's SAME padding: ceil(size / stride) per dimension."""
    frame = []
    for size, k, s in zip(x.shape[-3:], kernel, stride, strict=True):
        surplus = max(0, (math.ceil(size / s) - 1) * s + k - size)
        frame.append((surplus // 2, math.ceil(surplus / 2)))
    shape = [size + sum(edges) for size, edges in zip(x.shape[-3:], frame, strict=True)]
    framed = torch.full((*x.shape[:-3], *shape), outside)
    framed[(..., *(slice(a, a + n) for (a, _), n in zip(frame, x.shape[-3:], strict=True)))] = x
    for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), start=1):
        framed = framed.unfold(axis + 1, k, s)
    return framed


def unit(w: dict[str, Tensor], name: str, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    patches = windows(x, kernel, stride, 0.0)
    batch, _, t, h, wide = patches.shape[:5]
    rows = patches.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(batch * t * h * wide, -1)
    summed = (rows @ w[f"{name}.conv3d.weight"].flatten(1).T).reshape(batch, t, h, wide, -1).permute(0, 4, 1, 2, 3)
    mean, var, gamma, beta = (
        w[f"{name}.bn.{part}"][:, None, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((summed - mean) / (var + 0.001).sqrt() * gamma + beta).clamp_min(0)


def reference(w: dict[str, Tensor], x: Tensor) -> Tensor:
    one = (1, 1, 1)
    for kind, *what in LAYERS:
        if kind == "conv":
            x = unit(w, *what[:1], x, *what[1:])
        elif kind == "pool":
            x = windows(x, *what, -math.inf).amax((-3, -2, -1))
        else:
            (name,) = what
            branches = [
                unit(w, f"{name}.b0", x, one, one),
                unit(w, f"{name}.b1b", unit(w, f"{name}.b1a", x, one, one), (3, 3, 3), one),
                unit(w, f"{name}.b2b", unit(w, f"{name}.b2a", x, one, one), (3, 3, 3), one),
                unit(w, f"{name}.b3b", windows(x, (3, 3, 3), one, -math.inf).amax((-3, -2, -1)), one, one),
            ]
            x = torch.cat(branches, dim=1)
    means = x.unfold(2, 2, 1).unfold(3, 7, 1).unfold(4, 7, 1).mean((-3, -2, -1))
    return means.mean((2, 3, 4))


@pytest.mark.parametrize("channels", [2, 3])
def test_features_match_the_reference(channels: int) -> None:
    weights = random_weights("i3d-rgb" if channels == 3 else "i3d-flow")
    network = I3d(channels).eval()
    network.load_state_dict(weights)
    # These sizes are not divisible by the strides, so padding is uneven. The last pool needs 7 × 7.
    clips = torch.rand(1, channels, 15, 195, 200, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        expected, features = reference(weights, clips), network(clips)
    assert features.shape == (1, WIDTH)
    assert features.std() > 0.01
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_names_and_shapes_match_the_public_checkpoints() -> None:
    """`rgb_imagenet.pt` has 50,883,138 bytes, including names and shapes, in float32."""
    with torch.device("meta"):
        rgb, flow = I3d(3).state_dict(), I3d(2).state_dict()
    assert sum(value.numel() for key, value in rgb.items() if "running" not in key) == 12_697_264
    assert 0 < 50_883_138 - 4 * sum(value.numel() for value in rgb.values()) < 40_000
    assert rgb.keys() == flow.keys() and len(rgb) == 57 * 5 + 2
    different = {key for key in rgb if rgb[key].shape != flow[key].shape}
    assert different == {"Conv3d_1a_7x7.conv3d.weight"}
    expected = {
        "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7), "Conv3d_2b_1x1.bn.running_var": (64,),
        "Conv3d_2c_3x3.conv3d.weight": (192, 64, 3, 3, 3), "Mixed_3b.b1b.conv3d.weight": (128, 96, 3, 3, 3),
        "Mixed_4e.b2b.conv3d.weight": (64, 32, 3, 3, 3), "Mixed_4f.b3b.bn.bias": (128,),
        "Mixed_5b.b0.conv3d.weight": (256, 832, 1, 1, 1), "Mixed_5c.b1a.conv3d.weight": (192, 832, 1, 1, 1),
        "logits.conv3d.weight": (400, 1024, 1, 1, 1), "logits.conv3d.bias": (400,),
    }  # fmt: skip
    assert {key: tuple(rgb[key].shape) for key in expected} == expected


def test_layers_halve_the_dimensions_given_in_the_paper() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = I3d(3)
        for name, layer in network.named_children():
            layer.register_forward_hook(lambda _, __, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        network(torch.empty(1, 3, FRAMES, SIDE, SIDE))
    assert shapes["Conv3d_1a_7x7"] == (64, 8, 112, 112)
    assert shapes["Conv3d_2c_3x3"] == (192, 8, 56, 56)
    assert shapes["Mixed_3c"] == (480, 8, 28, 28)
    assert shapes["Mixed_4f"] == (832, 4, 14, 14)
    assert shapes["Mixed_5c"] == (1024, 2, 7, 7)
    assert "logits" not in shapes
