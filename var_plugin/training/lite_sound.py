"""Train the `sound` space of the lite suite, or measure it.

YAMNet's trunk is taken as it was published. Two small towers learn, on features computed once, what a window sounds
like: what YAMNet's classifier hears in it, as a distribution over the names of AudioSet's 521 classes, and, where there
is one, the label of its recording. Names and labels are sentences, in another wording at every step, so that the space
stays open for texts that are neither. A logistic regression learns which sentences speak of sounds at all.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from var_plugin.encoders.backbones.minilm import WIDTH
from var_plugin.encoders.backbones.yamnet import WIDTH as FEATURES
from var_plugin.encoders.backbones.yamnet import YamnetTrunk, quantised
from var_plugin.encoders.lite_sound_towers import Audible, Tower
from var_plugin.encoders.weight_folder import LITE
from var_plugin.training.flickr8k import read_flickr8k
from var_plugin.training.sound_effects import fetch
from var_plugin.training.sound_features import SoundFeatures, cached_features, joined
from var_plugin.training.sound_measures import evaluate, measure_background
from var_plugin.training.sound_texts import Phrasings, class_phrasings, label_phrasings, sentence_vectors
from var_plugin.training.sound_wordings import WORDINGS
from var_plugin.training.sounds import Part, Recording, read_recordings, select
from var_plugin.training.yamnet import Yamnet, read_class_names

_WEIGHTS, _CONFIGURATION = "sound.safetensors", "sound.json"
_LABELS = tuple(WORDINGS)
_EVALUATED = ("esc10", "urbansound8k")


@dataclass(frozen=True)
class Recipe:
    """Every number of the training; chosen on the validation part."""

    steps: int = 400
    batch: int = 128
    rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: int = 40
    shares: tuple[tuple[str, float], ...] = (("esc10", 0.25), ("urbansound8k", 0.45), ("effects", 0.3))
    """Of each batch, by collection."""
    label_weight: float = 3.0
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
        self.sound_tower = Tower(FEATURES, hidden=recipe.sound_hidden, dim=recipe.dim, dropout=recipe.dropout)
        self.sentence_tower = Tower(WIDTH, hidden=recipe.sentence_hidden, dim=recipe.dim, dropout=recipe.dropout)
        self.audible = Audible(WIDTH)


@dataclass(frozen=True)
class Lessons:
    """What is taught: windows, the labels of their recordings, how often each is drawn, and the texts.

    Attributes:
        features: the windows of all recordings.
        labels: (windows, labels) float32, one-hot; zeros where there is no label.
        names: (windows, 521) float32, the shares of what the teacher hears.
        chances: (windows,) float64, of being drawn; they add up to one.
        label_texts, name_texts: phrasings of the labels and of the teacher's classes.
    """

    features: SoundFeatures
    labels: Tensor
    names: Tensor
    chances: NDArray[np.float64]
    label_texts: Phrasings
    name_texts: Phrasings


def prepare(
    recordings: Sequence[Recording],
    features: SoundFeatures,
    classifier: tuple[Tensor, Tensor],
    texts: tuple[Phrasings, Phrasings],
    shares: Mapping[str, float],
) -> Lessons:
    """Join features with labels, the teacher's judgement and texts, and decide how often each window is heard.

    Args:
        recordings: what the features were computed from.
        features: of their windows.
        classifier: the teacher's weight (521, 1024) and bias.
        texts: of the labels, and of the teacher's classes.
        shares: of each batch, by collection.
    """
    numbers = np.array([-1 if r.label is None else _LABELS.index(r.label) for r in recordings])[features.recording]
    labels = torch.from_numpy(numbers)
    scores = F.linear(torch.from_numpy(features.features[0].astype(np.float32)), *classifier).sigmoid()
    return Lessons(
        features=features,
        labels=F.one_hot(labels.clamp_min(0), len(_LABELS)) * (labels >= 0)[:, None].float(),
        names=scores / scores.sum(1, keepdim=True),
        chances=_chances(recordings, features, shares),
        label_texts=texts[0],
        name_texts=texts[1],
    )


def _chances(
    recordings: Sequence[Recording], features: SoundFeatures, shares: Mapping[str, float]
) -> NDArray[np.float64]:
    """Loud windows more often; but every recording of a source, source of a class, class of a collection alike."""
    owners = [recordings[place] for place in features.recording]
    chances = features.loudness.astype(np.float64)
    for level in (
        [str(owner.path) for owner in owners],
        [f"{owner.collection}/{owner.label}/{owner.source}" for owner in owners],
        [f"{owner.collection}/{owner.label}" for owner in owners],
        [owner.collection for owner in owners],
    ):
        _, group = np.unique(level, return_inverse=True)
        chances /= np.bincount(group, chances)[group]
    chances *= [shares[owner.collection] for owner in owners]
    return np.asarray(chances / chances.sum())


def train(lessons: Lessons, recipe: Recipe) -> SoundModel:
    """Fit both towers and return them, ready for use; `audible` is as it began."""
    torch.manual_seed(recipe.seed)
    model = SoundModel(recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, step / recipe.warm_up) * (1 + math.cos(math.pi * step / recipe.steps)) / 2,
    )
    started, losses = time.monotonic(), []
    for step, batch in enumerate(_batches(lessons, recipe), start=1):
        loss = _loss(model, batch, lessons, recipe)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 250 == 0:
            print(f"step {step}: loss {np.mean(losses[-250:]):.3f}, {time.monotonic() - started:.0f} s", flush=True)
    return model.eval()


@dataclass(frozen=True)
class _Batch:
    features: Tensor
    """(batch, 1024)."""
    labels: Tensor
    """(batch, labels); rows add up to one, or to less where a part has no label."""
    names: Tensor
    """(batch, 521); rows add up to one."""


def _batches(lessons: Lessons, recipe: Recipe) -> Iterator[_Batch]:
    random = np.random.default_rng(recipe.seed)
    known = lessons.features
    for _ in range(recipe.steps):
        rows = random.choice(len(lessons.chances), size=recipe.batch, p=lessons.chances)
        view = random.integers(len(known.features), size=recipe.batch)
        behind = known.behind[view, rows]
        share = torch.from_numpy(known.share[view, rows])[:, None]
        yield _Batch(
            features=torch.from_numpy(known.features[view, rows].astype(np.float32)),
            labels=share * lessons.labels[rows] + (1 - share) * lessons.labels[behind],
            names=share * lessons.names[rows] + (1 - share) * lessons.names[behind],
        )


def _loss(model: SoundModel, batch: _Batch, lessons: Lessons, recipe: Recipe) -> Tensor:
    vectors = model.sound_tower(batch.features) * recipe.scale
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


def save(model: SoundModel, trunk: YamnetTrunk, folder: Path, recipe: Recipe, background: Sequence[Recording]) -> None:
    """Write `sound.safetensors` and `sound.json`; the similarity of strangers is measured on the last argument.

    The trunk is written in 8 bits, as it was published, all else in half precision.
    """
    tensors = {f"trunk.{name}": value for name, value in quantised(trunk.state_dict()).items()}
    tensors |= {name: value.half().contiguous() for name, value in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / _WEIGHTS)
    configuration = {
        "dim": recipe.dim + 1,
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
    parser.add_argument("--final", action="store_true", help="train on the validation part, too, once all is chosen")
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
    _make(arguments.data, arguments.cache, arguments.out, ("train", "validation") if arguments.final else ("train",))


def _make(data: Path, cache: Path, out: Path, parts: Sequence[Part]) -> None:
    recipe, yamnet = Recipe(), Yamnet(data / "audio" / "yamnet.tflite")
    recordings, trunk = read_recordings(data, cache / "effects"), yamnet.trunk()
    taught = [select(recordings, part=part) for part in parts]
    features = [cached_features(found, trunk, cache / f"{part}.npz") for found, part in zip(taught, parts, strict=True)]
    together = joined(features, [len(found) for found in taught])
    texts = label_phrasings(), class_phrasings(read_class_names(data / "audio" / "yamnet_class_map.csv"))
    listed = [recording for found in taught for recording in found]
    model = train(prepare(listed, together, yamnet.classifier(), texts, dict(recipe.shares)), recipe)
    captions = [caption for found in read_flickr8k(data / "flickr8k")["train"].captions for caption in found[:1]]
    learn_audible(model, torch.cat([found.sentences for found in texts]), sentence_vectors(captions), recipe)
    save(model, trunk, out, recipe, select(recordings, part="test"))


if __name__ == "__main__":
    main()
