"""Train the `sound` space of the lite suite, or measure it.

YAMNet is the teacher. A small network of our own learns to hear what YAMNet hears (`sound_imitation.py`). Two small
towers on top of it then learn what a window sounds like: what YAMNet's classifier hears in it, as a distribution over
the names of AudioSet's 521 classes, and, where there is one, the label of its recording. They leave the network as it
is: labels of few sources would teach it these sources. Names and labels are sentences, in another wording at every
step, so that the space stays open for texts that are neither. A logistic regression learns which sentences speak of
sounds at all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.backbones.minilm import WIDTH
from var_plugin.encoders.backbones.sound_network import SoundNetwork
from var_plugin.encoders.lite_sound_towers import Audible, Tower
from var_plugin.encoders.weight_folder import LITE
from var_plugin.training.flickr8k import read_flickr8k
from var_plugin.training.schedule import warm_cosine
from var_plugin.training.sound_effects import fetch
from var_plugin.training.sound_features import cached_features
from var_plugin.training.sound_imitation import ImitationRecipe, Material, begin, imitate
from var_plugin.training.sound_lessons import Batch, Lessons, batches, prepare
from var_plugin.training.sound_measures import evaluate, measure_background
from var_plugin.training.sound_texts import class_phrasings, label_phrasings, sentence_vectors
from var_plugin.training.sounds import Recording, read_recordings, select
from var_plugin.training.yamnet import WIDTH as FEATURES
from var_plugin.training.yamnet import Yamnet, read_class_names

_WEIGHTS, _CONFIGURATION = "sound.safetensors", "sound.json"
_REPORT = 100
"""Steps from one line of progress to the next."""
_EVALUATED = ("esc10", "urbansound8k")


@dataclass(frozen=True)
class Recipe:
    """Every number of the training; chosen on the validation part."""

    widths: tuple[int, ...] = (40, 80, 160, 320)
    """Channels of the network's first convolution and its stages."""
    residuals: int = 2
    """Of each stage."""
    imitation: ImitationRecipe = field(default_factory=ImitationRecipe)
    steps: int = 1_600
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: int = 100
    shares: tuple[tuple[str, float], ...] = (("esc10", 0.25), ("urbansound8k", 0.45), ("effects", 0.3))
    """Of each batch, by collection."""
    label_weight: float = 2.0
    names_weight: float = 1.0
    scale: float = 12.0
    """What similarities are multiplied by before the softmax."""
    dim: int = 127
    sound_hidden: int = 512
    sentence_hidden: int = 256
    dropout: float = 0.2
    audible_decay: float = 1e-4
    seed: int = 0


class SoundModel(nn.Module):
    """What is trained."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = SoundNetwork(recipe.widths, recipe.residuals, FEATURES)
        self.sound_tower = Tower(FEATURES, hidden=recipe.sound_hidden, dim=recipe.dim, dropout=recipe.dropout)
        self.sentence_tower = Tower(WIDTH, hidden=recipe.sentence_hidden, dim=recipe.dim, dropout=recipe.dropout)
        self.audible = Audible(WIDTH)


def train_towers(model: SoundModel, lessons: Lessons, recipe: Recipe) -> None:
    """Fit the towers to the network and make them ready for use; network and `audible` stay as they are."""
    torch.manual_seed(recipe.seed)
    towers = [*model.sound_tower.parameters(), *model.sentence_tower.parameters()]
    optimizer = torch.optim.AdamW(towers, lr=recipe.rate, weight_decay=recipe.weight_decay)
    model.train()
    model.network.eval()
    schedule = warm_cosine(optimizer, steps=recipe.steps, warm_up=recipe.warm_up)
    started, losses = time.monotonic(), []
    for step, batch in enumerate(batches(lessons, steps=recipe.steps, size=recipe.batch, seed=recipe.seed), start=1):
        loss = _loss(model, batch, lessons, recipe)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % _REPORT == 0:
            elapsed = time.monotonic() - started
            print(f"step {step}: loss {np.mean(losses[-_REPORT:]):.3f}, {elapsed:.0f} s", flush=True)
    model.eval()


def _loss(model: SoundModel, batch: Batch, lessons: Lessons, recipe: Recipe) -> Tensor:
    with torch.no_grad():
        heard = model.network(batch.log_mel)
    vectors = model.sound_tower(heard) * recipe.scale
    by_label = (vectors @ model.sentence_tower(lessons.label_texts.draw()).T).log_softmax(-1)
    by_name = (vectors @ model.sentence_tower(lessons.name_texts.draw()).T).log_softmax(-1)
    labels = -(batch.labels * by_label).sum(1).mean()
    names = F.kl_div(by_name, batch.names, reduction="batchmean")
    loss: Tensor = recipe.label_weight * labels + recipe.names_weight * names
    return loss


def learn_audible(model: SoundModel, spoken: Tensor, silent: Tensor, recipe: Recipe) -> None:
    """Fit the logistic regression that tells sentences about sounds from captions of pictures, each side alike.

    Args:
        model: whose `audible` is fitted.
        spoken: (n, 384) vectors of sentences about sounds.
        silent: (m, 384) vectors of captions.
        recipe: holds the weight decay.
    """
    sentences = torch.cat([spoken, silent])
    truth = torch.cat([torch.ones(len(spoken)), torch.zeros(len(silent))])
    weight = torch.cat([torch.full((len(side),), 0.5 / len(side)) for side in (spoken, silent)])
    optimizer = torch.optim.LBFGS(model.audible.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = F.binary_cross_entropy_with_logits(
            model.audible.linear(sentences).squeeze(-1), truth, weight, reduction="sum"
        )
        total: Tensor = found + recipe.audible_decay * model.audible.linear.weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]


def save(model: SoundModel, folder: Path, recipe: Recipe, background: Sequence[Recording]) -> None:
    """Write `sound.safetensors` and `sound.json`; the similarity of strangers is measured on the last argument."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / _WEIGHTS)
    configuration = {
        "dim": recipe.dim + 1,
        "network": {"widths": recipe.widths, "residuals": recipe.residuals, "features": FEATURES},
        "sound_tower": {"hidden": recipe.sound_hidden, "dim": recipe.dim},
        "sentence_tower": {"hidden": recipe.sentence_hidden, "dim": recipe.dim},
        "sounds": "16 kHz mono float32 in -1…1; 64 mel bands, 125 to 7500 Hz; windows of 0.975 s every 0.48 s",
        "recipe": asdict(recipe),
    }
    _write_configuration(folder, configuration)
    _write_configuration(folder, configuration | {"background": measure_background(background, folder)})


def _write_configuration(folder: Path, configuration: dict[str, object]) -> None:
    text = json.dumps(configuration, indent=2, ensure_ascii=False)
    (folder / _CONFIGURATION).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Train, or evaluate what was trained."""
    parser = argparse.ArgumentParser(prog="python -m var_plugin.training.lite_sound", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/ and flickr8k/captions.csv")
    parser.add_argument("--out", type=Path, default=LITE, help="folder for the weights; by default the shipped ones")
    parser.add_argument(
        "--evaluate", choices=("validation", "test"), help="only measure the weights in --out on this part"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps the sound effects and all features")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two threads are slower on windows as small as these
    if arguments.evaluate:
        recordings = select(read_recordings(arguments.data), part=arguments.evaluate)
        results = {name: evaluate(select(recordings, collection=name), arguments.out) for name in _EVALUATED}
        print(json.dumps(results, indent=2))
        return
    if not arguments.cache:
        parser.error("training needs --cache")
    fetch(arguments.cache / "effects")
    _make(arguments.data, arguments.cache, arguments.out)


def _make(data: Path, cache: Path, out: Path) -> None:
    recipe, yamnet = Recipe(), Yamnet(data / "audio" / "yamnet.tflite")
    recordings, classifier = read_recordings(data, cache / "effects"), yamnet.classifier()
    taught = select(recordings, part="train")
    features = cached_features(taught, yamnet.trunk(), cache / "train")
    names = read_class_names(data / "audio" / "yamnet_class_map.csv")
    texts = label_phrasings(cache), class_phrasings(names, cache)
    torch.manual_seed(recipe.seed)
    model = SoundModel(recipe)
    begin(model.network, features)
    material = Material(taught, features, recipe.imitation)
    imitate(model.network, material, yamnet.trunk(), classifier, recipe.imitation)
    train_towers(model, prepare(taught, features, classifier, texts, dict(recipe.shares)), recipe)
    captions = [caption for found in read_flickr8k(data / "flickr8k")["train"].captions for caption in found[:1]]
    learn_audible(model, torch.cat([found.sentences for found in texts]), sentence_vectors(captions, cache), recipe)
    save(model, out, recipe, select(recordings, part="validation"))


if __name__ == "__main__":
    main()
