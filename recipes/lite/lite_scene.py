"""Train the `scene` space of the lite suite on Flickr8k; how to run it stands in README.md beside this file.

Contrastive learning (InfoNCE in both directions) between images and their captions. What would be forgotten is held:
a distillation term keeps the fine-tuned backbone's ImageNet judgement, from which the general part of the vectors
(`var_plugin.encoders.lite.image_text`) is made.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from recipes.lite.flickr8k import CAPTIONS, CaptionedImages, Part, read_flickr8k, read_image
from recipes.lite.lite_features import Features, cached_features, join
from recipes.lite.lite_general import fit_general
from recipes.lite.lite_model import LiteModel
from recipes.lite.schedule import warm_cosine
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.lite.image_text import LiteImageEncoder, LiteTextEncoder
from var_plugin.encoders.weights import LITE
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.metrics import DEPTHS, ranks

_WEIGHTS, _CONFIGURATION = "scene.safetensors", "scene.json"


@dataclass(frozen=True)
class Recipe:
    """Every number of the training; chosen on the validation part."""

    epochs: int = 20
    batch: int = 512
    views: int = 12
    captions: int = 2
    """Captions per image and step, drawn out of the five."""
    tower_rate: float = 1e-3
    low_rank_rate: float = 5e-4
    weight_decay: float = 0.05
    warm_up: int = 50
    averaging: float = 0.99
    """Decay of the moving average of the weights, which is what is kept."""
    distillation: float = 1.0
    dim: int = 176
    """Dimension of the learned part."""
    general_dim: int = 48
    image_share: float = 0.2
    """Share of the general part in an image's vector."""
    text_share: tuple[float, float] = (0.05, 0.8)
    """Share of the general part in a text's vector: for an ordinary caption, and for what no caption resembles."""
    queries: int = 2
    hidden: int = 512
    rank: int = 64
    dropout: float = 0.3
    bfloat16: bool = False
    """Multiply in bfloat16: half the time on CPUs that have it."""
    seed: int = 0


def train(features: Features, recipe: Recipe) -> LiteModel:
    """Fit the model to the features of the training images and return the averaged weights, ready for use."""
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed)
    model = LiteModel(
        dim=recipe.dim, queries=recipe.queries, hidden=recipe.hidden, rank=recipe.rank, dropout=recipe.dropout
    )
    averaged = copy.deepcopy(model).eval()
    optimizer = _optimizer(model, recipe)
    steps = recipe.epochs * (len(features) // recipe.batch)
    schedule = warm_cosine(optimizer, steps=steps, warm_up=recipe.warm_up)
    step, started = 0, time.monotonic()
    for epoch in range(recipe.epochs):
        losses = []
        for batch in _batches(features, recipe, random):
            loss, contrast = _loss(model, batch, recipe)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            step += 1
            _average(averaged, model, min(recipe.averaging, step / (step + 10)))
            losses.append(contrast)
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return averaged


@dataclass(frozen=True)
class _Batch:
    trunk: Tensor
    logits: Tensor
    states: Tensor
    """(captions * batch, time, 384): first one caption of every image, then the next."""
    mask: Tensor


def _batches(features: Features, recipe: Recipe, random: np.random.Generator) -> Iterator[_Batch]:
    order = random.permutation(len(features))
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        images = order[start : start + recipe.batch]
        views = random.integers(len(features.trunk), size=len(images))
        captions = np.stack([random.permutation(CAPTIONS)[: recipe.captions] for _ in images], axis=1)
        mask = features.mask[images, captions]
        length = int(mask.sum(-1).max())
        yield _Batch(
            trunk=_float(features.trunk[views, images]),
            logits=_float(features.logits[views, images]),
            states=_float(features.states[images, captions][..., :length, :]).flatten(0, 1),
            mask=torch.from_numpy(mask[..., :length]).flatten(0, 1),
        )


def _float(array: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _loss(model: LiteModel, batch: _Batch, recipe: Recipe) -> tuple[Tensor, float]:
    """Return the whole loss, and its contrastive part alone."""
    # Of sentences as short as these, fused attention takes several times as long backward.
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16), sdpa_kernel(SDPBackend.MATH):
        found = (*model.images(batch.trunk), model.texts(batch.states, batch.mask))
    images, logits, texts = (each.float() for each in found)
    scale, own = model.log_scale.exp(), torch.arange(len(images))
    similarities = [scale * caption @ images.T for caption in texts.reshape(-1, *images.shape)]
    contrast = torch.stack([F.cross_entropy(s, own) + F.cross_entropy(s.T, own) for s in similarities]).mean() / 2
    kept = F.kl_div(logits.log_softmax(-1), batch.logits.softmax(-1), reduction="batchmean")
    return contrast + recipe.distillation * kept, contrast.item()


def _optimizer(model: LiteModel, recipe: Recipe) -> torch.optim.Optimizer:
    towers = [*model.image_tower.parameters(), *model.text_tower.parameters()]
    low_rank = [value for part in (model.top, model.layers) for value in part.parameters() if value.requires_grad]
    groups = [
        {"params": towers, "lr": recipe.tower_rate},
        {"params": low_rank, "lr": recipe.low_rank_rate},
        {"params": [model.log_scale], "lr": recipe.tower_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))


@torch.no_grad()
def _average(averaged: LiteModel, model: LiteModel, decay: float) -> None:
    for mean, value in zip(averaged.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def save(model: LiteModel, general: Mapping[str, Tensor], folder: Path, recipe: Recipe) -> None:
    """Write `scene.safetensors` (float16) and `scene.json`."""
    tensors = model.tensors() | {f"general.{name}": value for name, value in general.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().half().contiguous() for name, value in tensors.items()}, folder / _WEIGHTS)
    configuration = {
        "dim": recipe.dim + recipe.general_dim,
        "general_share": {"image": recipe.image_share, "text": recipe.text_share},
        "tower": {"queries": recipe.queries, "hidden": recipe.hidden, "dim": recipe.dim},
        "images": "RGB, 224x224, uint8; (x - 127) / 128 inside the graph",
        "recipe": asdict(recipe),
    }
    (folder / _CONFIGURATION).write_text(json.dumps(configuration, indent=2) + "\n")


def encode(data: CaptionedImages, folder: Path) -> tuple[Vectors, Vectors]:
    """Return the vectors of the images and of all their captions, by the encoders that users run."""
    images = LiteImageEncoder(folder).encode([read_image(path) for path in data.paths])
    texts = LiteTextEncoder(folder).encode([caption for captions in data.captions for caption in captions])
    return images, texts


def evaluate(data: CaptionedImages, folder: Path) -> dict[str, dict[str, float]]:
    """Return recall (percent) and median rank in both directions; the best of its captions counts for an image."""
    images, texts = encode(data, folder)
    similarity = texts @ images.T
    own = np.repeat(np.eye(len(data), dtype=bool), CAPTIONS, axis=0)
    found = {"text to image": ranks(similarity, own), "image to text": ranks(similarity.T, own.T)}
    return {
        direction: {f"R@{depth}": round(100 * float((places <= depth).mean()), 1) for depth in DEPTHS}
        | {"median rank": float(np.median(places))}
        for direction, places in found.items()
    }


def main() -> None:
    """Train, or evaluate what was trained."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.lite_scene", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.csv and images/")
    parser.add_argument("--out", type=Path, default=LITE, help="folder for the weights; by default the shipped ones")
    parser.add_argument("--evaluate", choices=("validation", "test"), help="only measure the weights in --out")
    parser.add_argument("--cache", type=Path, help="folder that keeps the features of the frozen trunks")
    parser.add_argument("--classes", type=Path, help="JSON list of the 1000 ImageNet class names")
    parser.add_argument("--final", action="store_true", help="train on the validation part, too")
    parser.add_argument("--bfloat16", action="store_true", help="multiply in bfloat16, where the CPU has it")
    arguments = parser.parse_args()
    parts = read_flickr8k(arguments.data)
    if arguments.evaluate:
        print(json.dumps(evaluate(parts[arguments.evaluate], arguments.out), indent=2))
        return
    if not arguments.cache or not arguments.classes:
        parser.error("training needs --cache and --classes")
    recipe = replace(Recipe(), bfloat16=arguments.bfloat16)
    used: list[Part] = ["train", "validation"] if arguments.final else ["train"]
    features = [cached_features(parts[part], views=recipe.views, folder=arguments.cache, name=part) for part in used]
    captions = [captions[0] for part in used for captions in parts[part].captions]
    general = fit_general(json.loads(arguments.classes.read_text()), captions, dim=recipe.general_dim)
    save(train(join(features), recipe), general, arguments.out, recipe)


if __name__ == "__main__":
    with exit_on_error("lite_scene"):
        main()
