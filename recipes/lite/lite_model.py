"""The trainable part of the `scene` space: the towers, low-rank updates of the layers below, and the ConSE head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from var_plugin.encoders.backbones.efficientnet_lite import OUTPUTS, TUNABLE_BLOCKS, Weights, load_weights
from var_plugin.encoders.backbones.minilm import WIDTH, MiniLM, run_layers
from var_plugin.encoders.lite.networks import LowRank, TokenTower, in_distribution_ratio

_CAPTION_DIRECTIONS = 64
_CAPTION_QUANTILE = 0.25  # three quarters of all captions are in distribution
_BATCH = 64
_INITIAL_LOGIT_SCALE = 20.0  # 1 / temperature


class LiteModel(nn.Module):
    """Both sides of the space, on the features of the frozen trunks."""

    def __init__(self, *, dim: int, queries: int, hidden: int, rank: int, dropout: float) -> None:
        super().__init__()
        channels = OUTPUTS["features"][0]
        self.top = BackboneTop(load_weights())
        self.layers = MiniLM().tunable
        for part in (self.top, self.layers):
            part.requires_grad_(False)
            _add_low_rank(part, rank)
        self.image_tower = TokenTower(channels, queries=queries, hidden=hidden, dim=dim, dropout=dropout)
        self.text_tower = TokenTower(WIDTH, queries=queries, hidden=hidden, dim=dim, dropout=dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_LOGIT_SCALE)))

    def images(self, trunk: Tensor) -> tuple[Tensor, Tensor]:
        """Map trunk features (batch, 192, 7, 7) to vectors (batch, dim) and ImageNet logits (batch, 1000)."""
        features = self.top(trunk)
        return self.image_tower(features.flatten(2).transpose(1, 2)), self.top.classify(features)

    def texts(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map trunk states (batch, time, 384) and their mask (batch, time) to vectors (batch, dim)."""
        vectors: Tensor = self.text_tower(run_layers(self.layers, states, mask), mask)
        return vectors

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to save: the towers, and low-rank factors as `part.layer.weight.up` and `.down`."""
        tensors: dict[str, Tensor] = {}
        for part, tower in (("picture_tower", self.image_tower), ("text_tower", self.text_tower)):
            tensors |= {f"{part}.{name}": value for name, value in tower.state_dict().items()}
        for part in ("top", "layers"):
            for name, value in getattr(self, part).named_parameters():
                if value.requires_grad:
                    layer, factor = name.split(".parametrizations.weight.0.")
                    layer = layer.removeprefix("convolutions.").replace("/", ".")
                    tensors[f"{part}.{layer}.weight.{factor}"] = value
        return tensors


class BackboneTop(nn.Module):
    """The last blocks of EfficientNet-Lite0, its head convolution and its classifier, as torch modules.

    The layers are stored under the backbone's own names, with "/" for ".", which torch reserves.
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
        # Channels-last memory format is faster on a CPU.
        self.convolutions[name.replace(".", "/")] = _filled(conv, weights, name).to(memory_format=torch.channels_last)

    def _layer(self, name: str) -> nn.Module:
        return self.convolutions[name.replace(".", "/")]


def _filled(module: nn.Module, weights: Weights, name: str) -> nn.Module:
    module.load_state_dict({key: torch.from_numpy(weights[f"{name}.{key}"]) for key in ("weight", "bias")})
    return module


def _add_low_rank(part: nn.Module, rank: int) -> None:
    """Add a low-rank update to every dense layer except the classifier, which stays as trained on ImageNet."""
    for name, module in list(part.named_modules()):
        dense = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if dense and name != "classifier":
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))


@torch.inference_mode()
def fit_conse_head(names: Sequence[str], captions: Sequence[str], *, dim: int) -> dict[str, Tensor]:
    """Return the tensors of the ConSE head: class names and captions as points among MiniLM's sentence vectors.

    Args:
        names: the class names in the order of the logits.
        captions: examples of the texts that the learned part was trained on.
        dim: number of principal components of the names.
    """
    model = MiniLM()
    classes, caption_vectors = _sentences(model, names), _sentences(model, captions)
    centre, projection = _principal_directions(classes, dim)
    caption_centre, caption_directions = _principal_directions(caption_vectors, _CAPTION_DIRECTIONS)
    likeness = [
        in_distribution_ratio(vectors, caption_centre, caption_directions) for vectors in (classes, caption_vectors)
    ]
    return {
        "centre": centre,
        "projection": projection,
        "classes": (classes - centre) @ projection,
        "caption_centre": caption_centre,
        "caption_directions": caption_directions,
        "familiar": torch.stack([likeness[0].median(), likeness[1].quantile(_CAPTION_QUANTILE)]),
    }


def _sentences(model: MiniLM, texts: Sequence[str]) -> Tensor:
    batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    return torch.cat([model.sentence(*model.trunk(batch)) for batch in batches])


def _principal_directions(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean (width,) and the first `count` principal components (width, count)."""
    centre = vectors.mean(0)
    _, _, directions = torch.linalg.svd(vectors - centre, full_matrices=False)
    return centre, directions[:count].T.contiguous()
