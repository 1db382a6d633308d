"""Train the `sound` space of the lite suite, or measure it.

YAMNet is the teacher. A small network of our own learns to hear what YAMNet hears (`sound_imitation.py`). Two small
towers on top of it then learn what a window sounds like: what YAMNet's classifier hears more than usual in it, as a
distribution over the names of AudioSet's 521 classes, and, where there is one, the label of its recording. They leave
the network as it is: labels of few sources would teach it these sources. Names and labels are sentences, in another
wording at every step and with noise, so that the space stays open for texts that are neither. A logistic regression
learns which sentences speak of sounds at all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.lite.audio_calibration import fit_confidences
from recipes.lite.audio_dataset import TAUGHT, Batch, Known, Lessons, batches, collect, prepare
from recipes.lite.audio_distillation import ImitationRecipe, Material, begin, imitate
from recipes.lite.audio_eval import evaluate, hear_recordings, measure_background, unheard
from recipes.lite.audio_prompts import blur, class_phrasings, label_phrasings, learn_audible, sentence_vectors
from recipes.lite.audio_sources import LAST_ROUND, ROUNDS, Part, select
from recipes.lite.audio_weights import note, rounds_of, save
from recipes.lite.flickr8k import read_flickr8k
from recipes.lite.schedule import warm_cosine
from recipes.lite.sound_effects import fetch
from recipes.lite.yamnet import WIDTH as FEATURES
from recipes.lite.yamnet import Yamnet, read_class_names
from var_plugin.encoders.backbones.minilm import WIDTH
from var_plugin.encoders.base import ScoreStatistics, Vectors
from var_plugin.encoders.lite.audio import LiteAudioTextEncoder, LiteAudioWeights
from var_plugin.encoders.lite.networks import AudibilityHead, AudioCNN, SentenceTower
from var_plugin.errors import InvalidInputError, exit_on_error

_LEAST = -1e4
"""Similarity of what does not compete; not minus infinity, of which a share of none is no number."""
_REPORT = 100
"""Steps from one line of progress to the next."""
_EVALUATED = ("esc10", "urbansound8k")
_ALL: tuple[Part, ...] = (*TAUGHT, "test")


@dataclass(frozen=True)
class Recipe:
    """Every number of the training; chosen on the training and the validation part."""

    widths: tuple[int, ...] = (40, 80, 160, 320)
    """Channels of the network's first convolution and its stages."""
    residuals: int = 2
    """Of each stage."""
    imitation: tuple[ImitationRecipe, ...] = (
        ImitationRecipe(),
        ImitationRecipe(steps=3_900, rate=1.5e-3, seed=1),
        ImitationRecipe(steps=5_000, rate=1.5e-3, seed=2),
    )
    """In turns."""
    steps: int = 3_000
    batch: int = 128
    rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: int = 100
    shares: tuple[tuple[str, float], ...] = (
        ("esc10", 0.1), ("urbansound8k", 0.25), ("named", 0.4), ("effects", 0.25),
    )  # fmt: skip
    """Of each batch, by collection."""
    label_weight: float = 4.0
    names_weight: float = 1.0
    scale: float = 12.0
    """What similarities are multiplied by before the softmax."""
    dim: int = 127
    sound_hidden: int = 512
    sentence_hidden: int = 256
    dropout: float = 0.2
    sentence_dropout: float = 0.4
    blur: float = 1.0
    """Length of the noise on each sentence vector: other wordings lie around the trained ones."""
    audible_decay: float = 1e-4
    seed: int = 0


class SoundModel(nn.Module):
    """What is trained."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = AudioCNN(recipe.widths, recipe.residuals, FEATURES)
        self.sound_tower = SentenceTower(FEATURES, hidden=recipe.sound_hidden, dim=recipe.dim, dropout=recipe.dropout)
        self.sentence_tower = SentenceTower(
            WIDTH, hidden=recipe.sentence_hidden, dim=recipe.dim, dropout=recipe.sentence_dropout
        )
        self.audible = AudibilityHead(WIDTH)

    @torch.inference_mode()
    def sentences(self, texts: Sequence[str]) -> Vectors:
        """Return vectors of texts, (len(texts), dim); how audible they are is left out."""
        return np.asarray(self.sentence_tower(sentence_vectors(texts)).numpy())


def learned_network(folder: Path) -> AudioCNN:
    """Return the network of the weights in a folder."""
    network = SoundModel(Recipe()).network
    network.load_state_dict(LiteAudioWeights(folder).part("network"))
    return network.eval()


def train_towers(model: SoundModel, lessons: Lessons, recipe: Recipe) -> None:
    """Fit the towers to what the network hears and make them ready for use; `network` and `audible` stay."""
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
    vectors = model.sound_tower(batch.heard) * recipe.scale
    by_label, by_name = (
        vectors @ model.sentence_tower(blur(texts.draw(), recipe.blur)).T
        for texts in (lessons.label_texts, lessons.name_texts)
    )
    # A label that nothing sounds like here would only be pushed away from all.
    by_label, by_name = by_label.masked_fill(~lessons.learned, _LEAST).log_softmax(-1), by_name.log_softmax(-1)
    labels = -(batch.labels * by_label).sum(1).mean()
    names = F.kl_div(by_name, batch.names, reduction="batchmean")
    loss: Tensor = recipe.label_weight * labels + recipe.names_weight * names
    return loss


def main() -> None:
    """Train, or evaluate what was trained."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.lite_audio", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/ and flickr8k/captions.csv")
    parser.add_argument("--out", type=Path, help="folder for the weights")
    parser.add_argument(
        "--evaluate",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="only measure the weights in these folders, of a round each, on what they have not learned from, joined",
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps the sound effects and all features")
    parser.add_argument(
        "--learned", type=Path, help="folder with weights whose network is used; by default it begins anew"
    )
    parser.add_argument(
        "--turns",
        type=int,
        choices=range(len(Recipe().imitation) + 1),
        help="the network learns for so many of the last turns; all by default, with --learned none",
    )
    parser.add_argument(
        "--round",
        type=int,
        choices=ROUNDS,
        default=LAST_ROUND,
        help="whose folds are left out, for measuring (default: %(default)s)",
    )
    parser.add_argument(
        "--final", action="store_true", help="let the towers learn from these as well, once nothing is left to measure"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two threads are slower on windows as small as these
    if arguments.evaluate:
        print(json.dumps(_evaluate(arguments.data, arguments.evaluate), indent=2))
        return
    if not arguments.cache or not arguments.out:
        parser.error("training needs --cache and --out")
    if arguments.learned and rounds_of(arguments.learned)["network"] != arguments.round:
        parser.error("the network of --learned does not say that it has not heard the folds of this round")
    fetch(arguments.cache / "effects")
    network = learned_network(arguments.learned) if arguments.learned else None
    turns = arguments.turns if arguments.turns is not None else 0 if network else len(Recipe().imitation)
    parts = _ALL if arguments.final else TAUGHT
    _make(
        arguments.data, arguments.cache, arguments.out, network, turns=turns, round_number=arguments.round, parts=parts
    )


def _evaluate(data: Path, folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Measure weights of different rounds; recordings of each compete among themselves, the values are joined."""
    if len({rounds_of(folder)["towers"] for folder in folders}) < len(folders):
        raise InvalidInputError(
            "these weights cannot be measured together",
            why="some of them leave the same folds out, which would count twice",
            fix="name one folder for each round",
        )
    parts = [(unheard(data, folder), folder) for folder in folders]
    return {
        name: evaluate([(select(found, collection=name), folder) for found, folder in parts]) for name in _EVALUATED
    }


def _make(
    data: Path,
    cache: Path,
    out: Path,
    network: AudioCNN | None,
    *,
    turns: int,
    round_number: int,
    parts: Sequence[Part],
) -> None:
    recipe, yamnet = Recipe(), Yamnet(data / "audio" / "yamnet.tflite")
    known = collect(data, cache, yamnet, parts, round_number=round_number)
    classifier = yamnet.classifier()
    network = _learn(recipe, known["train"], yamnet, network, recipe.imitation[len(recipe.imitation) - turns :])
    taught = {part: found.heard_by(network) for part, found in known.items()}
    texts = label_phrasings(cache), class_phrasings(read_class_names(data / "audio" / "yamnet_class_map.csv"), cache)
    captions = [caption for found in read_flickr8k(data / "flickr8k")["train"].captions for caption in found[:1]]

    def fit(parts: Sequence[Part]) -> None:
        torch.manual_seed(recipe.seed)
        model = SoundModel(recipe)
        model.network.load_state_dict(network.state_dict())
        train_towers(model, prepare([taught[part] for part in parts], classifier, texts, dict(recipe.shares)), recipe)
        spoken = torch.cat([found.sentences for found in texts])
        learn_audible(model.audible, spoken, sentence_vectors(captions, cache), recipe.audible_decay)
        save(model, out, recipe, {"network": round_number, "towers": None if "test" in parts else round_number})

    fit(["train"])
    # How alike strangers are is measured on recordings that were not trained on, before these join the training.
    unknown, vectors = hear_recordings(known["validation"].recordings, out)
    encode = LiteAudioTextEncoder(out).encode
    background = measure_background(unknown, vectors, encode)
    strangers = {query: ScoreStatistics(**numbers) for query, numbers in background.items()}
    confidence = fit_confidences(unknown, vectors, encode, strangers)
    fit(parts)
    note(out, background=background, confidence=confidence)


def _learn(
    recipe: Recipe, known: Known, yamnet: Yamnet, network: AudioCNN | None, turns: Sequence[ImitationRecipe]
) -> AudioCNN:
    """Return a network that imitates the teacher: the one that is given or a new one, after so many turns."""
    torch.manual_seed(recipe.seed)
    if network is None:
        network = SoundModel(recipe).network
        begin(network, known.features)
    for turn in turns:
        material = Material(known.recordings, known.features, turn)
        imitate(network, material, yamnet.trunk(), yamnet.classifier(), turn)
    return network


if __name__ == "__main__":
    with exit_on_error("lite_sound"):
        main()
