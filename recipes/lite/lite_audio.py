"""Train or measure the `sound` space of the lite suite.

The training has three steps:

1. A small network is distilled from YAMNet, the teacher (`audio_distillation.py`).
2. Two small towers on top of the frozen network and of MiniLM are trained to match windows with sentences. The targets
   of a window are the teacher's class scores relative to their mean, as a distribution over the names of AudioSet's
   521 classes, and the label of its recording if it has one. The network is frozen because the labels come from few
   sources, and it would overfit to them. Names and labels are rephrased at every step and noise is added to their
   vectors, so that the space generalizes to other texts.
3. A logistic regression learns which sentences describe sounds at all.
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

from recipes.lite.audio_calibration import fit_calibrators
from recipes.lite.audio_dataset import (
    TRAINING_PARTS,
    Batch,
    RawSet,
    TrainingData,
    batches,
    build_training_data,
    collect,
)
from recipes.lite.audio_distillation import DistillationRecipe, WindowSampler, distill, init_output_layer
from recipes.lite.audio_eval import encode_recordings, evaluate, held_out_recordings, measure_score_statistics
from recipes.lite.audio_prompts import (
    add_embedding_noise,
    class_phrasings,
    fit_audibility,
    label_phrasings,
    sentence_vectors,
)
from recipes.lite.audio_sources import FOLDS, LAST_FOLD, Part, select
from recipes.lite.audio_weights import held_out_folds, save, update_configuration
from recipes.lite.flickr8k import read_flickr8k
from recipes.lite.optim import warmup_cosine_schedule
from recipes.lite.sound_effects import fetch
from recipes.lite.yamnet import WIDTH as FEATURES
from recipes.lite.yamnet import Yamnet, read_class_names
from var_plugin.encoders.backbones.minilm import WIDTH
from var_plugin.encoders.base import ScoreStatistics, Vectors
from var_plugin.encoders.lite.audio import LiteAudioTextEncoder, LiteAudioWeights
from var_plugin.encoders.lite.networks import AudibilityHead, AudioCNN, SentenceTower
from var_plugin.errors import InvalidInputError, exit_on_error

_EXCLUDED_LOGIT = -1e4
"""Logit of labels without recordings. Minus infinity would give NaN for windows without a label."""
_LOG_STEPS = 100
_EVALUATED = ("esc10", "urbansound8k")
_ALL: tuple[Part, ...] = (*TRAINING_PARTS, "test")


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters; chosen on the training and the validation part."""

    widths: tuple[int, ...] = (40, 80, 160, 320)
    """Channels of the network's first convolution and of its stages."""
    residuals: int = 2
    """Residual blocks of each stage."""
    distillation: tuple[DistillationRecipe, ...] = (
        DistillationRecipe(),
        DistillationRecipe(steps=3_900, lr=1.5e-3, seed=1),
        DistillationRecipe(steps=5_000, lr=1.5e-3, seed=2),
    )
    """The stages of the distillation."""
    steps: int = 3_000
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    shares: tuple[tuple[str, float], ...] = (
        ("esc10", 0.1), ("urbansound8k", 0.25), ("named", 0.4), ("effects", 0.25),
    )  # fmt: skip
    """Share of each batch by collection."""
    label_weight: float = 4.0
    names_weight: float = 1.0
    """Weight of the loss on the teacher's class names."""
    logit_scale: float = 12.0
    dim: int = 127
    sound_hidden: int = 512
    sentence_hidden: int = 256
    dropout: float = 0.2
    sentence_dropout: float = 0.4
    embedding_noise: float = 1.0
    """Norm of the noise on each sentence vector; it stands for other wordings near the trained ones."""
    audible_decay: float = 1e-4
    seed: int = 0


class AudioModel(nn.Module):
    """The network, both towers and the audibility head.

    The attribute names are keys of the weight files.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.network = AudioCNN(recipe.widths, recipe.residuals, FEATURES)
        self.sound_tower = SentenceTower(FEATURES, hidden=recipe.sound_hidden, dim=recipe.dim, dropout=recipe.dropout)
        self.sentence_tower = SentenceTower(
            WIDTH, hidden=recipe.sentence_hidden, dim=recipe.dim, dropout=recipe.sentence_dropout
        )
        self.audible = AudibilityHead(WIDTH)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (texts, dim) of the sentence tower, without the audibility head."""
        return np.asarray(self.sentence_tower(sentence_vectors(texts)).numpy())


def load_network(folder: Path) -> AudioCNN:
    """Return the network of the weights in a folder."""
    network = AudioModel(Recipe()).network
    network.load_state_dict(LiteAudioWeights(folder).part("network"))
    return network.eval()


def train_towers(model: AudioModel, data: TrainingData, recipe: Recipe) -> None:
    """Train the towers in place and set the model to evaluation mode; `network` and `audible` do not change."""
    torch.manual_seed(recipe.seed)
    towers = [*model.sound_tower.parameters(), *model.sentence_tower.parameters()]
    optimizer = torch.optim.AdamW(towers, lr=recipe.lr, weight_decay=recipe.weight_decay)
    model.train()
    model.network.eval()
    schedule = warmup_cosine_schedule(optimizer, steps=recipe.steps, warmup_steps=recipe.warmup_steps)
    started, losses = time.monotonic(), []
    for step, batch in enumerate(batches(data, steps=recipe.steps, size=recipe.batch_size, seed=recipe.seed), start=1):
        loss = _loss(model, batch, data, recipe)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % _LOG_STEPS == 0:
            elapsed = time.monotonic() - started
            print(f"step {step}: loss {np.mean(losses[-_LOG_STEPS:]):.3f}, {elapsed:.0f} s", flush=True)
    model.eval()


def _loss(model: AudioModel, batch: Batch, data: TrainingData, recipe: Recipe) -> Tensor:
    """Return the weighted sum of the cross-entropy over labels and the KL divergence over class names."""
    vectors = model.sound_tower(batch.embeddings) * recipe.logit_scale
    label_logits, class_logits = (
        vectors @ model.sentence_tower(add_embedding_noise(texts.draw(), recipe.embedding_noise)).T
        for texts in (data.label_texts, data.class_texts)
    )
    # A label without recordings would only be pushed away from all windows.
    label_logits = label_logits.masked_fill(~data.label_is_present, _EXCLUDED_LOGIT)
    label_loss = -(batch.labels * label_logits.log_softmax(-1)).sum(1).mean()
    class_loss = F.kl_div(class_logits.log_softmax(-1), batch.teacher_targets, reduction="batchmean")
    loss: Tensor = recipe.label_weight * label_loss + recipe.names_weight * class_loss
    return loss


def main() -> None:
    """Train the sound space, or measure trained weights with --evaluate."""
    parser = argparse.ArgumentParser(prog="python -m recipes.lite.lite_audio", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with audio/ and flickr8k/captions.csv")
    parser.add_argument("--out", type=Path, help="folder for the weights")
    parser.add_argument(
        "--evaluate",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="measure the weights in these folders on their held-out folds and average the results; nothing is trained",
    )
    parser.add_argument("--cache", type=Path, help="folder for the sound effects and all features")
    parser.add_argument(
        "--network", type=Path, help="folder with weights whose network is used; default: train a new one"
    )
    parser.add_argument(
        "--stages",
        type=int,
        choices=range(len(Recipe().distillation) + 1),
        help="number of the last distillation stages to run; default: all, or none with --network",
    )
    parser.add_argument(
        "--fold", type=int, choices=FOLDS, default=LAST_FOLD, help="id of the held-out folds (default: %(default)s)"
    )
    parser.add_argument(
        "--final", action="store_true", help="train the towers on the held-out folds too, after all measurements"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # two threads are slower on windows as small as these
    if arguments.evaluate:
        print(json.dumps(_evaluate(arguments.data, arguments.evaluate), indent=2))
        return
    if not arguments.cache or not arguments.out:
        parser.error("training needs --cache and --out")
    if arguments.network and held_out_folds(arguments.network)["network"] != arguments.fold:
        parser.error("the network of --network was trained on the folds that --fold holds out, or does not say")
    fetch(arguments.cache / "effects")
    network = load_network(arguments.network) if arguments.network else None
    stages = arguments.stages if arguments.stages is not None else 0 if network else len(Recipe().distillation)
    parts = _ALL if arguments.final else TRAINING_PARTS
    _train(arguments.data, arguments.cache, arguments.out, network, stages=stages, fold_id=arguments.fold, parts=parts)


def _evaluate(data: Path, folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Measure weights with different held-out folds; the recordings of each form a gallery of their own."""
    if len({held_out_folds(folder)["towers"] for folder in folders}) < len(folders):
        raise InvalidInputError(
            "these weights cannot be measured together",
            why="some of them have the same held-out folds, which would count twice",
            fix="name one folder for each --fold",
        )
    parts = [(held_out_recordings(data, folder), folder) for folder in folders]
    return {
        name: evaluate([(select(recordings, collection=name), folder) for recordings, folder in parts])
        for name in _EVALUATED
    }


def _train(
    data: Path,
    cache: Path,
    out: Path,
    network: AudioCNN | None,
    *,
    stages: int,
    fold_id: int,
    parts: Sequence[Part],
) -> None:
    recipe, yamnet = Recipe(), Yamnet(data / "audio" / "yamnet.tflite")
    raw = collect(data, cache, yamnet, parts, fold_id=fold_id)
    classifier = yamnet.classifier()
    network = _distill(recipe, raw["train"], yamnet, network, recipe.distillation[len(recipe.distillation) - stages :])
    encoded = {part: each.encode(network) for part, each in raw.items()}
    texts = label_phrasings(cache), class_phrasings(read_class_names(data / "audio" / "yamnet_class_map.csv"), cache)
    captions = [captions[0] for captions in read_flickr8k(data / "flickr8k")["train"].captions]

    def fit(parts: Sequence[Part]) -> None:
        torch.manual_seed(recipe.seed)
        model = AudioModel(recipe)
        model.network.load_state_dict(network.state_dict())
        training_data = build_training_data([encoded[part] for part in parts], classifier, texts, dict(recipe.shares))
        train_towers(model, training_data, recipe)
        audible = torch.cat([each.sentences for each in texts])
        fit_audibility(model.audible, audible, sentence_vectors(captions, cache), recipe.audible_decay)
        save(model, out, recipe, {"network": fold_id, "towers": None if "test" in parts else fold_id})

    fit(["train"])
    # The score statistics are measured on recordings that were not trained on, before these join the training.
    recordings, vectors = encode_recordings(raw["validation"].recordings, out)
    encode = LiteAudioTextEncoder(out).encode
    background = measure_score_statistics(recordings, vectors, encode)
    statistics = {query: ScoreStatistics(**numbers) for query, numbers in background.items()}
    confidence = fit_calibrators(recordings, vectors, encode, statistics)
    fit(parts)
    update_configuration(out, score_statistics=background, calibrators=confidence)


def _distill(
    recipe: Recipe, raw: RawSet, yamnet: Yamnet, network: AudioCNN | None, stages: Sequence[DistillationRecipe]
) -> AudioCNN:
    """Return the given network, or a new one, after the given stages of distillation."""
    torch.manual_seed(recipe.seed)
    if network is None:
        network = AudioModel(recipe).network
        init_output_layer(network, raw.features)
    for stage in stages:
        sampler = WindowSampler(raw.recordings, raw.features, stage)
        distill(network, sampler, yamnet.trunk(), yamnet.classifier(), stage)
    return network


if __name__ == "__main__":
    with exit_on_error("lite_audio"):
        main()
