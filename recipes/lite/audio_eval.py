"""Measure the `sound` space on labelled recordings that its weights were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.lite.audio_features import read_waveform
from recipes.lite.audio_sources import Recording, read_recordings, select
from recipes.lite.audio_templates import WORDINGS
from recipes.lite.audio_weights import held_out_folds
from var_plugin.encoders.audio_features import audio_vector
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.lite.audio import LiteAudioEncoder, LiteAudioTextEncoder
from var_plugin.errors import InvalidInputError
from var_plugin.media.decoded import SAMPLE_RATE

_RESAMPLES = 2_000


@dataclass(frozen=True)
class Estimate:
    """A mean over recordings and its 95 % bootstrap confidence interval over sources."""

    value: float
    low: float
    high: float
    recordings: int


def held_out_recordings(data: Path, folder: Path) -> list[Recording]:
    """Return the recordings whose sources were not used to train the weights in `folder`.

    Raises:
        InvalidInputError: the weights were trained on all folds, or do not say which ones are held out.
        MediaNotFoundError: the recordings are not in `data`.
    """
    folds = held_out_folds(folder)
    if folds["towers"] is None or folds["network"] != folds["towers"]:
        raise InvalidInputError(
            f"the sound weights in {folder} cannot be measured on these recordings",
            why="they were trained on all folds, or do not say which folds are held out",
            fix="train weights with held-out folds: python -m recipes.lite.lite_audio --fold 3 --out FOLDER …",
        )
    recordings = read_recordings(data, fold_id=folds["towers"])
    training_sources = {recording.source for recording in recordings if recording.part != "test"}
    return [each for each in select(recordings, part="test") if each.source not in training_sources]


def evaluate(parts: Sequence[tuple[Sequence[Recording], Path]]) -> dict[str, dict[str, float]]:
    """Measure weights on labelled recordings of one collection with the encoders that users run.

    Args:
        parts: recordings and the folder with the weights to measure on them. Each part is a gallery of its own; the
            values of all parts are averaged together.

    Returns:
        "text to audio": share of recordings whose most similar text, of one text per class, is of their class, with
        held-out wordings; "text to audio, trained wordings": the same with the labels themselves; "audio to audio":
        R-precision among all other recordings; "audio to audio, other sources": among those of other sources.
    """
    values, sources = [], []
    for recordings, folder in parts:
        decoded, vectors = encode_recordings(recordings, folder)
        values.append(measure(decoded, vectors, LiteAudioTextEncoder(folder).encode))
        sources += [recording.source for recording in decoded]
    return {
        name: asdict(bootstrap_estimate(np.concatenate([part[name] for part in values]), np.array(sources)))
        for name in values[0]
    }


def measure_score_statistics(
    recordings: Sequence[Recording], vectors: Vectors, encode: Callable[[Sequence[str]], Vectors]
) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of the similarity of queries and recordings of different classes.

    Args:
        recordings: n labelled recordings.
        vectors: (n, dim), their vectors.
        encode: maps texts to vectors (texts, dim).

    Returns:
        The statistics of "text" and "audio" queries.
    """
    labels = np.array([recording.label for recording in recordings])
    texts = [(label, wording) for label in np.unique(labels) for wording in WORDINGS[label].trained]
    text_labels = np.array([label for label, _ in texts])
    text_vectors = encode([wording for _, wording in texts])
    similarities = {
        "text": (text_vectors @ vectors.T)[text_labels[:, None] != labels],
        "audio": (vectors @ vectors.T)[labels[:, None] != labels],
    }
    return {
        query: {"mean": round(float(values.mean()), 5), "std": round(float(values.std()), 5)}
        for query, values in similarities.items()
    }


def encode_recordings(recordings: Sequence[Recording], folder: Path) -> tuple[list[Recording], Vectors]:
    """Return the recordings that can be decoded and their vectors (n, dim)."""
    pairs = [(each, waveform) for each in recordings if (waveform := read_waveform(each.path)) is not None]
    encoder = LiteAudioEncoder(folder)
    vectors = np.stack([audio_vector((waveform, SAMPLE_RATE), encoder) for _, waveform in pairs])
    return [recording for recording, _ in pairs], vectors


def measure(
    recordings: Sequence[Recording], vectors: Vectors, encode: Callable[[Sequence[str]], Vectors]
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of `evaluate` per recording, NaN where a metric is undefined.

    Args:
        recordings: n labelled recordings.
        vectors: (n, dim), their vectors.
        encode: maps texts to vectors (texts, dim).
    """
    labels = np.array([recording.label for recording in recordings])
    sources = np.array([recording.source for recording in recordings])
    others = ~np.eye(len(labels), dtype=bool)
    wordings = {str(label): WORDINGS[label] for label in np.unique(labels)}
    held_out = {label: each.held_out for label, each in wordings.items()}
    names = {label: each.trained[:1] for label, each in wordings.items()}
    return {
        "text to audio": best_text(vectors, labels, encode, held_out),
        "text to audio, trained wordings": best_text(vectors, labels, encode, names),
        "audio to audio": _r_precision(vectors, labels, others),
        "audio to audio, other sources": _r_precision(vectors, labels, sources[:, None] != sources),
    }


def best_text(
    vectors: Vectors,
    labels: NDArray[np.str_],
    encode: Callable[[Sequence[str]], Vectors],
    wordings: Mapping[str, Sequence[str]],
) -> NDArray[np.float64]:
    """Return per recording how often the text of its label is the most similar one.

    The first wordings of all labels compete, then the second ones, and so on.
    """
    competing = np.array(list(wordings))
    correct = [
        competing[(vectors @ encode(texts).T).argmax(1)] == labels for texts in zip(*wordings.values(), strict=True)
    ]
    share: NDArray[np.float64] = np.mean(correct, axis=0)
    return share


def _r_precision(vectors: Vectors, labels: NDArray[np.str_], allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the R-precision per recording, where R recordings of its class are allowed; NaN if R is 0."""
    relevant = (labels[:, None] == labels) & allowed
    order = np.argsort(-np.where(allowed, vectors @ vectors.T, -np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(relevant, order, axis=1)
    count = relevant.sum(1)
    within = np.arange(len(labels)) < count[:, None]
    return np.where(count > 0, (ranked & within).sum(1) / np.maximum(count, 1), np.nan)


def bootstrap_estimate(values: NDArray[np.float64], sources: NDArray[np.str_]) -> Estimate:
    """Return the mean of the values (n,) that are not NaN, with its confidence interval.

    Sources are resampled instead of recordings, because slices of one recording resemble each other.
    """
    defined = ~np.isnan(values)
    _, group = np.unique(sources[defined], return_inverse=True)
    sums, counts = np.bincount(group, values[defined]), np.bincount(group)
    resamples = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.percentile(sums[resamples].sum(1) / counts[resamples].sum(1), (2.5, 97.5))
    value, low, high = (round(float(number), 3) for number in (values[defined].mean(), low, high))
    return Estimate(value, low, high, int(defined.sum()))
