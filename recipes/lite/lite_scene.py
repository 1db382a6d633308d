"""Train the `scene` space of the lite suite on Flickr8k, or measure it. README.md beside this file gives the commands.

The loss is InfoNCE in both directions between images and their captions, plus a distillation term that keeps the
ImageNet logits of the fine-tuned backbone. The general part of the vectors (`var_plugin.encoders.lite.image_text`) is
computed from these logits.
"""

from __future__ import annotations

import argparse
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
from recipes.lite.lite_model import LiteModel, fit_conse_head
from recipes.lite.optim import ema_model, warmup_cosine_schedule
from var_plugin.config import settings
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.lite.image_text import LiteImageEncoder, LiteTextEncoder
from var_plugin.encoders.weights import LITE
from var_plugin.errors import exit_on_error
from var_plugin.evaluation.metrics import DEPTHS, ranks

_WEIGHTS, _CONFIGURATION = "scene.safetensors", "scene.json"


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters; chosen on the validation part."""

    epochs: int = 20
    batch_size: int = 512
    views: int = 12
    captions: int = 2
    """Captions per image and step, drawn from the five."""
    head_lr: float = 1e-3
    low_rank_lr: float = 5e-4
    weight_decay: float = 0.05
    warmup_steps: int = 50
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, which is what is saved."""
    distillation: float = 1.0
    dim: int = 176
    """Dimension of the learned part."""
    general_dim: int = 48
    image_share: float = 0.2
    """Share of the general part in the vector of an image."""
    text_share: tuple[float, float] = (0.05, 0.8)
    """Share of the general part in the vector of a text: for an ordinary caption, and for one out of distribution."""
    queries: int = 2
    hidden: int = 512
    rank: int = 64
    dropout: float = 0.3
    bfloat16: bool = False
    """Compute in bfloat16, which takes half the time on CPUs with bfloat16 instructions."""
    seed: int = 0


def train(features: Features, recipe: Recipe) -> LiteModel:
    """Train a model on the features of the training images and return the averaged weights in evaluation mode."""
    torch.manual_seed(recipe.seed)
    random = np.random.default_rng(recipe.seed)
    model = LiteModel(
        dim=recipe.dim, queries=recipe.queries, hidden=recipe.hidden, rank=recipe.rank, dropout=recipe.dropout
    )
    averaged = ema_model(model, recipe.ema_decay).eval()
    optimizer = _optimizer(model, recipe)
    steps = recipe.epochs * (len(features) // recipe.batch_size)
    schedule = warmup_cosine_schedule(optimizer, steps=steps, warmup_steps=recipe.warmup_steps)
    started = time.monotonic()
    for epoch in range(recipe.epochs):
        losses = []
        for batch in _batches(features, recipe, random):
            loss, contrastive = _loss(model, batch, recipe)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
            losses.append(contrastive)
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    result = averaged.module
    if not isinstance(result, LiteModel):
        raise TypeError("the averaged module is not a LiteModel")
    return result


@dataclass(frozen=True)
class _Batch:
    trunk: Tensor
    logits: Tensor
    states: Tensor
    """(captions * batch, time, 384): the first caption of every image, then the second one."""
    mask: Tensor


def _batches(features: Features, recipe: Recipe, random: np.random.Generator) -> Iterator[_Batch]:
    order = random.permutation(len(features))
    for start in range(0, len(order) - recipe.batch_size + 1, recipe.batch_size):
        images = order[start : start + recipe.batch_size]
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
    """Return the total loss and its contrastive part."""
    # On sentences this short, the backward pass of fused attention is several times slower.
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16), sdpa_kernel(SDPBackend.MATH):
        outputs = (*model.images(batch.trunk), model.texts(batch.states, batch.mask))
    images, logits, texts = (each.float() for each in outputs)
    scale, targets = model.log_scale.exp(), torch.arange(len(images))
    similarities = [scale * caption @ images.T for caption in texts.reshape(-1, *images.shape)]
    losses = [F.cross_entropy(each, targets) + F.cross_entropy(each.T, targets) for each in similarities]
    contrastive = torch.stack(losses).mean() / 2
    distillation = F.kl_div(logits.log_softmax(-1), batch.logits.softmax(-1), reduction="batchmean")
    return contrastive + recipe.distillation * distillation, contrastive.item()


def _optimizer(model: LiteModel, recipe: Recipe) -> torch.optim.Optimizer:
    towers = [*model.image_tower.parameters(), *model.text_tower.parameters()]
    low_rank = [value for part in (model.top, model.layers) for value in part.parameters() if value.requires_grad]
    groups = [
        {"params": towers, "lr": recipe.head_lr},
        {"params": low_rank, "lr": recipe.low_rank_lr},
        {"params": [model.log_scale], "lr": recipe.head_lr, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))


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
    """Return the vectors of the images and of all their captions, from the encoders that users run."""
    images = LiteImageEncoder(folder, settings().cache).encode([read_image(path) for path in data.paths])
    texts = LiteTextEncoder(folder).encode([caption for captions in data.captions for caption in captions])
    return images, texts


def evaluate(data: CaptionedImages, folder: Path) -> dict[str, dict[str, float]]:
    """Return recall (percent) and median rank in both directions; the best of its captions counts for an image."""
    images, texts = encode(data, folder)
    similarity = texts @ images.T
    relevant = np.repeat(np.eye(len(data), dtype=bool), CAPTIONS, axis=0)
    by_direction = {"text to image": ranks(similarity, relevant), "image to text": ranks(similarity.T, relevant.T)}
    return {
        direction: {f"R@{depth}": round(100 * float((positions <= depth).mean()), 1) for depth in DEPTHS}
        | {"median rank": float(np.median(positions))}
        for direction, positions in by_direction.items()
    }


def main() -> None:
    """Train the scene space, or measure trained weights with --evaluate."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.lite_scene", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with captions.csv and images/")
    parser.add_argument("--out", type=Path, default=LITE, help="folder of the weights (default: the shipped ones)")
    parser.add_argument(
        "--evaluate",
        choices=("validation", "test"),
        help="measure the weights in --out on this part; nothing is trained",
    )
    parser.add_argument("--cache", type=Path, help="folder for the features of the frozen trunks")
    parser.add_argument("--classes", type=Path, help="JSON list of the 1000 ImageNet class names")
    parser.add_argument("--final", action="store_true", help="train on the validation part too")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="train in bfloat16; about twice as fast on CPUs with bfloat16 instructions",
    )
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
    general = fit_conse_head(json.loads(arguments.classes.read_text()), captions, dim=recipe.general_dim)
    save(train(join(features), recipe), general, arguments.out, recipe)


if __name__ == "__main__":
    with exit_on_error("lite_scene"):
        main()
