"""Train the lite ALAN on fights and ordinary life, or measure it. README.md beside this file gives the commands.

The steps are the motion stream, the motion part of texts, the detector, and its calibration. All figures are measured
on held-out sources. The final weights are then trained on all sources by the same recipe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from recipes.lite.alan_data import data_parser, read_data
from recipes.lite.alan_detector import DetectorRecipe, train_detector
from recipes.lite.alan_examples import RATE, Examples, Samples
from recipes.lite.alan_motion import (
    KINDS,
    LinearMap,
    Sentences,
    cross_fit_motion,
    fit_motion,
    fit_text_motion,
    read_sentences,
)
from recipes.lite.flickr8k import CaptionedImages, read_image
from recipes.lite.long_video_eval import CLIP_RATE, StreamMaker
from recipes.lite.motion_prompts import MOTION_WORDINGS
from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel, to_stored_names
from var_plugin.encoders.backbones.minilm import WIDTH as SENTENCE_WIDTH
from var_plugin.encoders.backbones.motion import WIDTH as MOTION_WIDTH
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.lite.image_text import LiteImageEncoder, LiteTextEncoder
from var_plugin.encoders.weights import LITE
from var_plugin.errors import exit_on_error

_QUERIES = 500
_FOLDS = 6


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters; chosen by cross-validation over sources."""

    detector: DetectorRecipe = field(default_factory=DetectorRecipe)
    model: dict[str, Any] = field(
        default_factory=lambda: {
            "detector_stream": "motion", "detector_kernel_size": 3, "detector_channels": (32, 16),
            "detector_dropout": 0.3, "detector_shortcut": True, "topk_divisor": 32,
            "selection_temperature": 0.15, "motion_threshold": 0.5,
        }
    )  # fmt: skip
    shortcut: float = 2.0
    """Weight of the motion regression's logits for fights (+) and calm (-) in the detector's logit."""
    anomaly_weight: float = 0.5
    """Weight of the anomaly-led clips in the vector of a whole video."""


def fit(examples: Examples, indices: Sequence[int], sentences: Sentences, recipe: Recipe) -> ResidualAlanModel:
    """Train a model on the given clips."""
    torch.manual_seed(recipe.detector.seed)
    model = ResidualAlanModel(
        ResidualAlanConfig(
            hidden_size=examples.still.objects.shape[1], motion_dim=MOTION_WIDTH, motion_width=len(KINDS),
            sentence_dim=SENTENCE_WIDTH, **recipe.model,
        )
    )  # fmt: skip
    _fill(model.motion, fit_motion(examples, indices))
    _fill(model.motion_gate, fit_text_motion(sentences))
    if model.shortcut is not None:  # its inputs are folded clips, whose motion is divided by √2
        torch.nn.init.constant_(model.shortcut.weight[:, KINDS.index("fight")], recipe.shortcut * 2**0.5)
        torch.nn.init.constant_(model.shortcut.weight[:, KINDS.index("calm")], -recipe.shortcut * 2**0.5)
    torch.nn.init.constant_(model.anomaly_weight, recipe.anomaly_weight)
    random = np.random.default_rng(recipe.detector.seed)
    train_detector(model, StreamMaker(cross_fit_motion(examples, indices), indices, random), recipe.detector)
    model.eval()
    return model


@dataclass(frozen=True)
class HeldOut:
    """Outputs for every clip of the model that was not trained on its source.

    Attributes:
        vectors: (clips, dim), each clip as one video vector.
        logits: per clip, the detector's uncalibrated logits of its samples.
        fights: (clips,) which clips are fights.
        sources: the source of each clip.
    """

    vectors: Vectors
    logits: tuple[Vectors, ...]
    fights: NDArray[np.bool_]
    sources: tuple[str, ...]


def cross_validate(examples: Examples, sentences: Sentences, recipe: Recipe) -> HeldOut:
    """Train six models, each on five sixths of the sources, and apply each to the other sources."""
    vectors: dict[int, Vectors] = {}
    logits: dict[int, Vectors] = {}
    for model, held_out in fold_models(examples, sentences, recipe):
        for index in held_out:
            clips = fold_clips(model, at_index_rate(examples.samples[index]))
            vectors[index] = l2_normalize(clips.mean(axis=0))
            logits[index] = detector_logits(model, clips)
    order = range(len(examples.clips))
    return HeldOut(
        vectors=np.stack([vectors[index] for index in order]),
        logits=tuple(logits[index] for index in order),
        fights=np.array([clip.fight for clip in examples.clips]),
        sources=tuple(clip.source for clip in examples.clips),
    )


def fold_models(
    examples: Examples, sentences: Sentences, recipe: Recipe
) -> Iterator[tuple[ResidualAlanModel, list[int]]]:
    """Yield the model of each fold and the indices of its held-out clips."""
    for number, (indices, held_out) in enumerate(folds(examples)):
        yield fit(examples, indices, sentences, recipe), held_out
        print(f"fold {number + 1} of {_FOLDS} done", flush=True)


def folds(examples: Examples) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the indices of the training clips and of the held-out clips, which have other sources."""
    from sklearn.model_selection import StratifiedGroupKFold

    fights = np.array([clip.fight for clip in examples.clips])
    sources = [clip.source for clip in examples.clips]
    for indices, held_out in StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(fights, fights, sources):
        yield indices.tolist(), held_out.tolist()


def calibrate(held_out: HeldOut) -> tuple[float, float]:
    """Return slope and offset of the Platt scaling (1999) of the detector's logits, for balanced classes."""
    from sklearn.linear_model import LogisticRegression

    logits = np.concatenate(held_out.logits)
    fights = np.repeat(held_out.fights, [len(part) for part in held_out.logits])
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in held_out.logits])
    fitted = LogisticRegression(class_weight="balanced").fit(logits[:, None], fights, sample_weight=weights)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def measure(held_out: HeldOut, model: ResidualAlanModel, text: LiteTextEncoder) -> dict[str, Any]:
    """Return the AUC of fights against other clips, with 95 % confidence intervals over sources.

    The vectors of the texts do not depend on the fold, because they are not fitted to clips.
    """
    scores = {"clip anomaly score": np.array([logits.max() for logits in held_out.logits])}
    for query in (MOTION_WORDINGS["fight"].trained[0], *MOTION_WORDINGS["fight"].held_out):
        scores[f'text "{query}"'] = held_out.vectors @ encode_texts(model, text, [query])[0]
    return {name: _with_interval(values, held_out) for name, values in scores.items()}


def _with_interval(scores: Vectors, held_out: HeldOut, draws: int = 1000) -> dict[str, float]:
    """Return the AUC and its 95 % confidence interval; sources are resampled, since their clips resemble each other."""
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(0)
    names, source = np.unique(held_out.sources, return_inverse=True)
    aucs = []
    for _ in range(draws):
        rows = np.concatenate([np.flatnonzero(source == name) for name in random.integers(0, len(names), len(names))])
        aucs.append(roc_auc_score(held_out.fights[rows], scores[rows]))
    low, high = np.percentile(aucs, [2.5, 97.5])
    result = {"auc": roc_auc_score(held_out.fights, scores), "low": low, "high": high}
    return {name: round(float(value), 3) for name, value in result.items()}


def measure_score_statistics(
    model: ResidualAlanModel,
    text: LiteTextEncoder,
    image_encoder: LiteImageEncoder,
    data: CaptionedImages,
    examples: Examples,
) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of the similarity of queries to unrelated footage."""
    footage = np.concatenate(
        [fold_clips(model, examples.still)]
        + [fold_clips(model, s) for s, clip in zip(examples.samples, examples.clips, strict=True) if not clip.fight]
    )
    captions = [captions[0] for captions in data.captions[:_QUERIES]]
    images = torch.from_numpy(image_encoder.encode([read_image(path) for path in data.paths[:_QUERIES]]))
    with torch.inference_mode():
        queries = {
            "text": encode_texts(model, text, captions),
            "image": model.encode_clips(images).numpy(),
            "video": fold_clips(model, examples.camera),
        }
    similarities = {name: vectors @ footage.T for name, vectors in queries.items()}
    return {
        name: {"mean": round(float(values.mean()), 5), "std": round(float(values.std()), 5)}
        for name, values in similarities.items()
    }


def fold_clips(model: ResidualAlanModel, samples: Samples) -> Vectors:
    """Return the clip vectors (n, dim) of samples."""
    with torch.inference_mode():
        return np.asarray(
            model.encode_clips(torch.from_numpy(samples.objects), torch.from_numpy(samples.motion)).numpy()
        )


def detector_logits(model: ResidualAlanModel, clips: Vectors) -> Vectors:
    """Return the detector's logits (n,) for the clip vectors (n, dim) of one video."""
    with torch.inference_mode():
        scores = model.score_clips(torch.from_numpy(clips)[None], torch.ones(1, len(clips), dtype=torch.bool))[0]
        return np.asarray(torch.logit(scores, eps=1e-6).numpy())


def encode_texts(model: ResidualAlanModel, text: LiteTextEncoder, queries: Sequence[str]) -> Vectors:
    """Return the vectors (n, dim) of texts."""
    with torch.inference_mode():
        objects, sentences = text.read(queries)
        return np.asarray(model.encode_texts(torch.from_numpy(objects), sentences).numpy())


def save(
    model: ResidualAlanModel,
    folder: Path,
    recipe: Recipe,
    calibration: tuple[float, float],
    background: dict[str, dict[str, float]],
) -> None:
    """Write `alan.safetensors` (float16) and `alan.json`; `rejection_eval --fit` adds the calibrator afterwards."""
    save_tensors(model, folder)
    names = ("hidden_size", "motion_dim", "motion_width", "sentence_dim", *recipe.model)
    configuration = {
        "dim": model.config.embedding_dim,
        "model": {name: getattr(model.config, name) for name in names},
        "motion_classes": list(KINDS),
        "detector_calibration": [round(value, 5) for value in calibration],
        "score_statistics": background,
        "recipe": asdict(recipe),
    }
    (folder / "alan.json").write_text(json.dumps(configuration, indent=2) + "\n")


def save_tensors(model: ResidualAlanModel, folder: Path) -> None:
    """Write only `alan.safetensors`."""
    weights = to_stored_names(model.state_dict())
    tensors = {f"alan.{name}": value.detach().half().contiguous() for name, value in weights.items()}
    save_file(tensors, folder / "alan.safetensors")


def _fill(layer: torch.nn.Linear, values: LinearMap) -> None:
    layer.load_state_dict({"weight": torch.from_numpy(values.weight), "bias": torch.from_numpy(values.bias)})


def at_index_rate(samples: Samples) -> Samples:
    """Return the samples at the rate of indexing."""
    return samples[slice(0, None, RATE // CLIP_RATE)]


def main() -> None:
    """Train the lite ALAN, or measure the recipe on held-out sources with --evaluate."""
    parser = data_parser("lite_alan", main.__doc__)
    parser.add_argument(
        "--out", type=Path, default=LITE, help="folder with the scene weights; the ALAN weights are written there too"
    )
    parser.add_argument(
        "--evaluate",
        action="store_true",
        help="measure by six-fold cross-validation over sources; no weights are written",
    )
    arguments = parser.parse_args()
    data, text, recipe = read_data(arguments, arguments.out), LiteTextEncoder(arguments.out), Recipe()
    images, examples = data.images, data.examples
    sentences = read_sentences(arguments.uca, images["train"])
    held_out = cross_validate(examples, sentences, recipe)
    model = fit(examples, range(len(examples.clips)), sentences, recipe)
    print(json.dumps(measure(held_out, model, text), indent=2))
    if not arguments.evaluate:
        background = measure_score_statistics(model, text, data.image_encoder, images["validation"], examples)
        save(model, arguments.out, recipe, calibrate(held_out), background)


if __name__ == "__main__":
    with exit_on_error("lite_alan"):
        main()
