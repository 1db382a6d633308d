"""The trainable part of the lite suite: the towers, and low-rank changes of the layers right below them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, TUNABLE_BLOCKS, Weights, load_weights
from var_plugin.encoders.backbones.minilm import WIDTH, MiniLM, run_layers
from var_plugin.encoders.lite.networks import LowRank, TokenTower

_START_SCALE = 20.0  # of the similarities in the loss: 1 / temperature


class LiteModel(nn.Module):
    """Both sides of the space, from the features of the frozen trunks on."""

    def __init__(self, *, dim: int, queries: int, hidden: int, rank: int, dropout: float) -> None:
        super().__init__()
        channels = OUTPUTS["features"][0]
        self.top = BackboneTop(load_weights())
        self.layers = MiniLM().tunable
        for part in (self.top, self.layers):
            part.requires_grad_(False)
            _make_low_rank(part, rank)
        self.image_tower = TokenTower(channels, queries=queries, hidden=hidden, dim=dim, dropout=dropout)
        self.text_tower = TokenTower(WIDTH, queries=queries, hidden=hidden, dim=dim, dropout=dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_START_SCALE)))

    def images(self, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """Map trunk features (batch, 192, 7, 7) to vectors (batch, dim) and ImageNet logits (batch, 1000)."""
        features = self.top(trunk)
        return self.image_tower(features.flatten(2).transpose(1, 2)), self.top.classify(features)

    def texts(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map trunk states (batch, time, 384) and their mask (batch, time) to vectors (batch, dim)."""
        vectors: Tensor = self.text_tower(run_layers(self.layers, states, mask), mask)
        return vectors

    def tensors(self) -> dict[str, Tensor]:
        """Return what is shipped: the towers' weights, and low-rank factors as `part.layer.weight.up` and `.down`."""
        found: dict[str, Tensor] = {}
        for part in ("picture_tower", "text_tower"):
            found |= {f"{part}.{name}": value for name, value in getattr(self, part).state_dict().items()}
        for part in ("top", "layers"):
            for name, value in getattr(self, part).named_parameters():
                if value.requires_grad:
                    layer, factor = name.split(".parametrizations.weight.0.")
                    layer = layer.removeprefix("convolutions.").replace("/", ".")
                    found[f"{part}.{layer}.weight.{factor}"] = value
        return found


class BackboneTop(nn.Module):
    """The last blocks of EfficientNet-Lite0, its head convolution and classifier, as torch modules.

    Layers are kept in a dictionary under the backbone's own names, with "/" for ".", which torch reserves.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        for block in TUNABLE_BLOCKS:
            for conv in ("_expand_conv", "_depthwise_conv", "_project_conv"):
                self._add(f"_blocks.{block}.{conv}", weights)
        self._add("_conv_head", weights)
        classes, width = weights["_fc.weight"].shape
        self.classifier = _filled(nn.Linear(width, classes), weights, "_fc")

    def forward(self, trunk: Tensor) -> Tensor:
        """Map (batch, 192, 7, 7) to (batch, 1280, 7, 7)."""
        x = trunk.contiguous(memory_format=torch.channels_last)
        for block in TUNABLE_BLOCKS:
            shortcut = x
            x = F.relu6(self._layer(f"_blocks.{block}._expand_conv")(x))
            x = F.relu6(self._layer(f"_blocks.{block}._depthwise_conv")(x))
            x = self._layer(f"_blocks.{block}._project_conv")(x)
            if x.shape == shortcut.shape:
                x = x + shortcut
        return F.relu6(self._layer("_conv_head")(x))

    def classify(self, features: Tensor) -> Tensor:
        """Map (batch, 1280, 7, 7) to ImageNet logits (batch, 1000)."""
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits

    def _add(self, name: str, weights: Weights) -> None:
        rows, columns, kernel, _ = weights[f"{name}.weight"].shape
        groups = rows if "depthwise" in name else 1
        conv = nn.Conv2d(columns * groups, rows, kernel, padding="same", groups=groups)
        # Channels last: faster on a CPU, forward and backward.
        self.convolutions[name.replace(".", "/")] = _filled(conv, weights, name).to(memory_format=torch.channels_last)

    def _layer(self, name: str) -> nn.Module:
        return self.convolutions[name.replace(".", "/")]


def _filled(module: nn.Module, weights: Weights, name: str) -> nn.Module:
    module.load_state_dict({key: torch.from_numpy(weights[f"{name}.{key}"]) for key in ("weight", "bias")})
    return module


def _make_low_rank(part: nn.Module, rank: int) -> None:
    """Let every dense layer learn a low-rank change; the classifier stays what ImageNet made it."""
    for name, module in list(part.named_modules()):
        dense = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if dense and name != "classifier":
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
