"""Check that the data type and the device of a suite do not degrade its vectors.

Some networks return NaN or slightly wrong vectors in float16 without an error. The check encodes built-in content with
the given options, and again in float32 on the CPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import ModelOptions
from var_plugin.encoders.base import Vectors, l2_normalize
from var_plugin.encoders.hub import device
from var_plugin.encoders.registry import load_suite
from var_plugin.errors import InvalidVectorError
from var_plugin.media.decoded import SAMPLE_RATE
from var_plugin.media.round_trip import write_clip
from var_plugin.types import Modality

MIN_COSINE = 0.99
"""Smallest cosine similarity between a vector and the same vector in float32."""

_TEXTS = ("a man climbs over a fence", "a red car", "smoke above a roof", "two dogs play on a beach")
_SECONDS = 8
_FRAMES_PER_SECOND = 2
_HEIGHT, _WIDTH, _BLOCK = 96, 128, 16


@dataclass(frozen=True)
class SelfCheck:
    """The result for one modality of a space. `problem` is empty if it passed."""

    space: str
    modality: Modality
    cosine: float | None
    """Smallest cosine similarity to float32 on the CPU. None: the vectors are not valid."""
    problem: str = ""


def check_suite(name: str, options: ModelOptions) -> list[SelfCheck]:
    """Compare the vectors of all modalities with those of float32 on the CPU.

    Args:
        name: name of the suite.
        options: device and data type to check. With float32 on the CPU, only validity and distinctness are checked.

    Raises:
        As `load_suite`, and as the encoders when they load their weights.
    """
    exact = options.model_copy(update={"device": "cpu", "dtype": "float32"})
    is_exact = options.dtype == exact.dtype and device(options).type == exact.device
    with tempfile.TemporaryDirectory() as folder:
        content = _content(Path(folder))
        vectors = _encode(name, options, content)
        expected = vectors if is_exact else _encode(name, exact, content)
    return [_compare(key, vectors[key], expected[key]) for key in vectors]


_Key = tuple[str, Modality]


def _encode(name: str, options: ModelOptions, content: Mapping[Modality, Sequence[Any]]) -> dict[_Key, Vectors | str]:
    """Return the vectors of the content per space and modality, or why they are not valid."""
    suite = load_suite(name, options)
    results: dict[_Key, Vectors | str] = {}
    for space in suite.spaces.values():
        for modality in sorted(space.modalities):
            try:
                results[space.name, modality] = suite.encode(modality, content[modality], space=space.name)
            except InvalidVectorError as error:
                results[space.name, modality] = f"{error.what}: {error.why}"
    return results


def _compare(key: _Key, vectors: Vectors | str, expected: Vectors | str) -> SelfCheck:
    for result in (vectors, expected):
        if isinstance(result, str):
            return SelfCheck(*key, None, result)
    vectors, expected = l2_normalize(np.asarray(vectors)), l2_normalize(np.asarray(expected))
    cosine = float((vectors * expected).sum(axis=1).min())
    error = np.linalg.norm(vectors - expected, axis=1)
    others = np.linalg.norm(expected[:, None] - expected, axis=2)
    nearest = np.where(np.eye(len(expected), dtype=bool), np.inf, others).min(axis=1)
    if cosine < MIN_COSINE:
        return SelfCheck(*key, cosine, f"the cosine similarity to float32 is {cosine:.4f}, below {MIN_COSINE}")
    if (nearest < 1e-6).any():
        return SelfCheck(*key, cosine, "different inputs have the same vector")
    if (error > nearest / 2).any():
        return SelfCheck(*key, cosine, "vectors differ more from float32 than different inputs from each other")
    return SelfCheck(*key, cosine)


def _content(folder: Path) -> dict[Modality, list[Any]]:
    """Return four different items per modality. Videos are written to the folder."""
    images = [_image(seed) for seed in range(4)]
    clips = []
    for number, image in enumerate(images):
        # Each clip moves sideways at its own speed.
        count = _SECONDS * _FRAMES_PER_SECOND
        frames = [np.roll(image, number * 4 * time, axis=1) for time in range(count)]
        write_clip(folder / f"{number}.mp4", frames, _FRAMES_PER_SECOND)
        clips.append(folder / f"{number}.mp4")
    return {"text": list(_TEXTS), "image": images, "audio": _sounds(), "video": clips}


def _image(seed: int) -> NDArray[np.uint8]:
    """Return coarse coloured blocks, (height, width, 3)."""
    blocks = np.random.default_rng(seed).integers(0, 256, (_HEIGHT // _BLOCK, _WIDTH // _BLOCK, 3), np.uint8)
    return blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)


def _sounds() -> list[tuple[NDArray[np.float32], int]]:
    """Return noise, a tone, clicks and a rising tone, with their sample rate."""
    times = np.arange(_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(0).normal(size=len(times))
    waves = (0.1 * noise, 0.5 * np.sin(2764 * times), (times * 4 % 1 < 0.01) * noise, 0.5 * np.sin(300 * times**2))
    return [(wave.astype(np.float32), SAMPLE_RATE) for wave in waves]
