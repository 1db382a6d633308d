"""Train the `sound` space of the lite suite, or measure it.

A window of sound learns three things at once: the teacher's embedding, what the teacher hears in it as a distribution
over the names of AudioSet's 521 classes, and, where there is one, the label of its recording. Names and labels are
sentences, in another wording at every step, so that the space stays open for texts that are neither.
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
from var_plugin.encoders.lite_sound import WEIGHTS, LiteSoundEncoder, LiteSoundTextEncoder
from var_plugin.encoders.lite_sound_towers import SentenceTower, SoundTower
from var_plugin.training.sound_augmentation import disturb, mix
from var_plugin.training.sound_effects import fetch
from var_plugin.training.sound_features import SoundFeatures, cached_features, read_sound
from var_plugin.training.sound_measures import evaluate
from var_plugin.training.sound_texts import Phrasings, class_phrasings, label_phrasings
from var_plugin.training.sound_wordings import WORDINGS
from var_plugin.training.sounds import Recording, read_recordings, select
from var_plugin.training.yamnet import EMBEDDING_WIDTH, read_class_names

_WEIGHTS, _CONFIGURATION = "sound.safetensors", "sound.json"
_LABELS = tuple(WORDINGS)
_EVALUATED = ("esc10", "urbansound8k")
_JITTER = 24
"""Frames by which a window is moved at most: a quarter of it."""


@dataclass(frozen=True)
class Recipe:
    """Every number of the training; chosen on the validation part."""

    steps: int = 4000
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: int = 200
    shares: tuple[tuple[str, float], ...] = (("esc10", 0.25), ("urbansound8k", 0.45), ("effects", 0.3))
    """Of each batch, by collection."""
    mixed: float = 0.5
    """Share of the windows with another sound behind them."""
    label_weight: float = 1.0
    names_weight: float = 0.5
    embedding_weight: float = 3.0
    scale: float = 12.0
    """What similarities are multiplied by before the softmax."""
    dim: int = 128
    width: int = 16
    hidden: int = 256
    dropout: float = 0.2
    sentence_dropout: float = 0.3
    seed: int = 0


class SoundModel(nn.Module):
    """Both towers, and the head that imitates the teacher's embedding and is thrown away."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.sound_tower = SoundTower(width=recipe.width, dim=recipe.dim, dropout=recipe.dropout)
        self.sentence_tower = SentenceTower(
            WIDTH, hidden=recipe.hidden, dim=recipe.dim, dropout=recipe.sentence_dropout
        )
        self.imitation = nn.Linear(SoundTower.features_width(recipe.width), EMBEDDING_WIDTH)


@dataclass(frozen=True)
class Lessons:
    """What is taught: windows, the labels of their recordings, how often each is drawn, and the texts.

    Attributes:
        features: the windows of all recordings.
        labels: (windows,) int64, place in the labels or -1.
        chances: (windows,) float64, of being drawn; they add up to one.
        label_texts, name_texts: phrasings of the labels and of the teacher's classes.
    """

    features: SoundFeatures
    labels: NDArray[np.int64]
    chances: NDArray[np.float64]
    label_texts: Phrasings
    name_texts: Phrasings


def prepare(
    recordings: Sequence[Recording],
    features: SoundFeatures,
    label_texts: Phrasings,
    name_texts: Phrasings,
    shares: Mapping[str, float],
) -> Lessons:
    """Join the features with labels and texts, and decide how often each window is heard."""
    labels = [-1 if recording.label is None else _LABELS.index(recording.label) for recording in recordings]
    return Lessons(
        features=features,
        labels=np.array(labels)[features.recording],
        chances=_chances(recordings, features, shares),
        label_texts=label_texts,
        name_texts=name_texts,
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
    """Fit both towers and return them, ready for use."""
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
    log_mel: Tensor
    labels: Tensor
    """(batch, labels), rows add up to one, or hold zeros where there is no label."""
    names: Tensor
    """(batch, 521), rows add up to one."""
    embeddings: Tensor


def _batches(lessons: Lessons, recipe: Recipe) -> Iterator[_Batch]:
    random = np.random.default_rng(recipe.seed)
    for _ in range(recipe.steps):
        batch = _draw(lessons, recipe.batch, random)
        behind = _draw(lessons, recipe.batch, random)
        mixed = torch.rand(recipe.batch) < recipe.mixed
        mixture, share = mix(batch.log_mel, behind.log_mel)
        share = torch.where(mixed, share, 1.0)[:, None]
        yield _Batch(
            log_mel=disturb(torch.where(mixed[:, None, None], mixture, batch.log_mel)),
            labels=share * batch.labels + (1 - share) * behind.labels,
            names=share * batch.names + (1 - share) * behind.names,
            embeddings=share * batch.embeddings + (1 - share) * behind.embeddings,
        )


def _draw(lessons: Lessons, count: int, random: np.random.Generator) -> _Batch:
    features = lessons.features
    rows = random.choice(len(lessons.chances), size=count, p=lessons.chances)
    labels = torch.from_numpy(lessons.labels[rows])
    names = torch.from_numpy(features.scores[rows].astype(np.float32))
    return _Batch(
        log_mel=torch.from_numpy(features.windows(rows, random.integers(-_JITTER, _JITTER + 1, size=count))),
        labels=F.one_hot(labels.clamp_min(0), len(_LABELS)) * (labels >= 0)[:, None].float(),
        names=names / names.sum(1, keepdim=True),
        embeddings=torch.from_numpy(features.embeddings[rows].astype(np.float32)),
    )


def _loss(model: SoundModel, batch: _Batch, lessons: Lessons, recipe: Recipe) -> Tensor:
    features = model.sound_tower.features(batch.log_mel)
    vectors = model.sound_tower.to_space(features) * recipe.scale
    by_label = (vectors @ model.sentence_tower(lessons.label_texts.draw()).T).log_softmax(-1)
    by_name = (vectors @ model.sentence_tower(lessons.name_texts.draw()).T).log_softmax(-1)
    imitated = F.cosine_similarity(model.imitation(features), batch.embeddings)
    labels = -(batch.labels * by_label).sum(1).mean()
    names = F.kl_div(by_name, batch.names, reduction="batchmean")
    embeddings = (1 - imitated).mean()
    loss: Tensor = recipe.label_weight * labels + recipe.names_weight * names + recipe.embedding_weight * embeddings
    return loss


def save(model: SoundModel, folder: Path, recipe: Recipe) -> None:
    """Write `sound.safetensors` (float16) and `sound.json` but for the background, which is measured afterwards."""
    tensors = {
        f"{tower}.{name}": value
        for tower in ("sound_tower", "sentence_tower")
        for name, value in getattr(model, tower).state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.half().contiguous() for name, value in tensors.items()}, folder / _WEIGHTS)
    configuration = {
        "dim": recipe.dim,
        "sound_tower": {"width": recipe.width, "dim": recipe.dim},
        "sentence_tower": {"hidden": recipe.hidden, "dim": recipe.dim},
        "sounds": "16 kHz mono float32 in -1…1; 64 mel bands, 125 to 7500 Hz; windows of 0.975 s every 0.48 s",
        "recipe": asdict(recipe),
    }
    _write_configuration(folder, configuration)


def measure_background(folder: Path, recordings: Sequence[Recording]) -> None:
    """Add to `sound.json` how similar labels and recordings, and two recordings, of different classes are."""
    heard = [(recording.label, sound) for recording in recordings if (sound := read_sound(recording.path)) is not None]
    labels = np.array([label for label, _ in heard])
    sounds = LiteSoundEncoder(folder).encode([sound for _, sound in heard])
    classes = np.unique(labels)
    texts = [(label, wording) for label in classes for wording in WORDINGS[label].trained]
    text_labels = np.array([label for label, _ in texts])
    text_vectors = LiteSoundTextEncoder(folder).encode([wording for _, wording in texts])
    found = {
        "text": (text_vectors @ sounds.T)[text_labels[:, None] != labels],
        "audio": (sounds @ sounds.T)[labels[:, None] != labels],
    }
    configuration = json.loads((folder / _CONFIGURATION).read_text())
    configuration["background"] = {
        query: {"mean": round(float(values.mean()), 5), "std": round(float(values.std()), 5)}
        for query, values in found.items()
    }
    _write_configuration(folder, configuration)


def _write_configuration(folder: Path, configuration: dict[str, object]) -> None:
    text = json.dumps(configuration, indent=2, ensure_ascii=False)
    (folder / _CONFIGURATION).write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Train, or evaluate what was trained."""
    parser = argparse.ArgumentParser(prog="python -m var_plugin.training.lite_sound", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/esc10, audio/urbansound8k, YAMNet")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights; by default the shipped ones")
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
    effects = arguments.cache / "effects"
    fetch(effects)
    recordings = read_recordings(arguments.data, effects)
    audio, taught = arguments.data / "audio", select(recordings, part="train")
    recipe = Recipe()
    features = cached_features(taught, audio / "yamnet.tflite", arguments.cache / "train.npz")
    names = class_phrasings(read_class_names(audio / "yamnet_class_map.csv"))
    lessons = prepare(taught, features, label_phrasings(), names, dict(recipe.shares))
    save(train(lessons, recipe), arguments.out, recipe)
    measure_background(arguments.out, select(recordings, part="validation"))


if __name__ == "__main__":
    main()
