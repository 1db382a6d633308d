"""How good the `sound` space is on labelled recordings that were held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.lite.audio_features import read_sound
from recipes.lite.audio_sources import Recording, read_recordings, select
from recipes.lite.audio_templates import WORDINGS
from recipes.lite.audio_weights import rounds_of
from var_plugin.encoders.audio_features import audio_vector
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.lite.audio import LiteAudioEncoder, LiteAudioTextEncoder
from var_plugin.errors import InvalidInputError
from var_plugin.media.audio import SAMPLE_RATE

_RESAMPLES = 2_000


@dataclass(frozen=True)
class Measured:
    """A mean over recordings with its 95 % bootstrap interval over sources."""

    value: float
    low: float
    high: float
    recordings: int


def unheard(data: Path, folder: Path) -> list[Recording]:
    """Return the recordings whose sources neither network nor towers in `folder` have learned from.

    Raises:
        InvalidInputError: they have learned from all folds, or do not say from which they have not.
        MediaNotFoundError: the recordings are not in `data`.
    """
    rounds = rounds_of(folder)
    if rounds["towers"] is None or rounds["network"] != rounds["towers"]:
        raise InvalidInputError(
            f"the sound weights in {folder} cannot be measured on these recordings",
            why="they have learned from them, or do not say that they have not",
            fix="train some that leave folds out: python -m recipes.lite.lite_audio --round 3 --out FOLDER …",
        )
    recordings = read_recordings(data, round_number=rounds["towers"])
    heard = {recording.source for recording in recordings if recording.part != "test"}
    return [recording for recording in select(recordings, part="test") if recording.source not in heard]


def evaluate(parts: Sequence[tuple[Sequence[Recording], Path]]) -> dict[str, dict[str, float]]:
    """Measure weights on labelled recordings of one collection, by the encoders that users run.

    Args:
        parts: recordings and the folder with the weights that are measured on them; a part's recordings and its texts
            compete among themselves, and the values of all parts are joined.

    Returns:
        "text to audio": share of recordings whose most similar text, out of one per class, is of their class, in
        wordings that training did not see; "text to audio, trained wordings": the same with the labels themselves;
        "audio to audio": R-precision among all others; "audio to audio, other sources": among other sources' only.
    """
    values, sources = [], []
    for recordings, folder in parts:
        kept, vectors = hear_recordings(recordings, folder)
        values.append(measure(kept, vectors, LiteAudioTextEncoder(folder).encode))
        sources += [recording.source for recording in kept]
    return {
        name: asdict(interval(np.concatenate([found[name] for found in values]), np.array(sources)))
        for name in values[0]
    }


def measure_background(
    recordings: Sequence[Recording], vectors: Vectors, encode: Callable[[Sequence[str]], Vectors]
) -> dict[str, dict[str, float]]:
    """Return mean and deviation of the similarity of labels and recordings, and of two recordings, of other classes.

    Args:
        recordings: n with labels.
        vectors: (n, dim) of them.
        encode: texts to (texts, dim).
    """
    labels = np.array([recording.label for recording in recordings])
    texts = [(label, wording) for label in np.unique(labels) for wording in WORDINGS[label].trained]
    text_labels = np.array([label for label, _ in texts])
    text_vectors = encode([wording for _, wording in texts])
    found = {
        "text": (text_vectors @ vectors.T)[text_labels[:, None] != labels],
        "audio": (vectors @ vectors.T)[labels[:, None] != labels],
    }
    return {
        query: {"mean": round(float(values.mean()), 5), "std": round(float(values.std()), 5)}
        for query, values in found.items()
    }


def hear_recordings(recordings: Sequence[Recording], folder: Path) -> tuple[list[Recording], Vectors]:
    """Return the recordings that can be decoded, and their vectors (n, dim)."""
    sounds = [(recording, sound) for recording in recordings if (sound := read_sound(recording.path)) is not None]
    encoder = LiteAudioEncoder(folder)
    vectors = np.stack([audio_vector((sound, SAMPLE_RATE), encoder) for _, sound in sounds])
    return [recording for recording, _ in sounds], vectors


def measure(
    recordings: Sequence[Recording], vectors: Vectors, encode: Callable[[Sequence[str]], Vectors]
) -> dict[str, NDArray[np.float64]]:
    """Return what `evaluate` does, recording by recording, for vectors (recordings, dim) and an encoder of sentences.

    A value is NaN where it says nothing.
    """
    labels = np.array([recording.label for recording in recordings])
    sources = np.array([recording.source for recording in recordings])
    anywhere = ~np.eye(len(labels), dtype=bool)
    wordings = {str(label): WORDINGS[label] for label in np.unique(labels)}
    unseen = {label: found.held_out for label, found in wordings.items()}
    names = {label: found.trained[:1] for label, found in wordings.items()}
    return {
        "text to audio": best_text(vectors, labels, encode, unseen),
        "text to audio, trained wordings": best_text(vectors, labels, encode, names),
        "audio to audio": _r_precision(vectors, labels, anywhere),
        "audio to audio, other sources": _r_precision(vectors, labels, sources[:, None] != sources),
    }


def best_text(
    vectors: Vectors,
    labels: NDArray[np.str_],
    encode: Callable[[Sequence[str]], Vectors],
    wordings: Mapping[str, Sequence[str]],
) -> NDArray[np.float64]:
    """Return per recording how often its label wins: the first texts of all in `wordings` compete, then the second."""
    competing = np.array(list(wordings))
    rounds = [
        competing[(vectors @ encode(texts).T).argmax(1)] == labels for texts in zip(*wordings.values(), strict=True)
    ]
    share: NDArray[np.float64] = np.mean(rounds, axis=0)
    return share


def _r_precision(vectors: Vectors, labels: NDArray[np.str_], allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return per recording the share of its class among the nearest R, where R others of its class are allowed."""
    relevant = (labels[:, None] == labels) & allowed
    order = np.argsort(-np.where(allowed, vectors @ vectors.T, -np.inf), axis=1, kind="stable")
    ranked = np.take_along_axis(relevant, order, axis=1)
    count = relevant.sum(1)
    within = np.arange(len(labels)) < count[:, None]
    return np.where(count > 0, (ranked & within).sum(1) / np.maximum(count, 1), np.nan)


def interval(values: NDArray[np.float64], sources: NDArray[np.str_]) -> Measured:
    """Return the mean of values (n,) that are known, not NaN, and how sure it is.

    Sources are resampled, not recordings: slices of one recording resemble each other.
    """
    known = ~np.isnan(values)
    _, group = np.unique(sources[known], return_inverse=True)
    sums, counts = np.bincount(group, values[known]), np.bincount(group)
    drawn = np.random.default_rng(0).integers(len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    value, low, high = (round(float(number), 3) for number in (values[known].mean(), low, high))
    return Measured(value, low, high, int(known.sum()))
