"""Texts of the lite suite without torch: what `lite.py`, `towers.py` and `lite_sound.py` compute, in NumPy.

A command that searches would spend most of its time on importing torch. For a few texts NumPy is also not slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from safetensors.numpy import load_file

from var_plugin.encoders.backbones.minilm_numpy import (
    Array,
    NumpyMiniLM,
    gelu,
    layer_norm,
    linear,
    normalized,
    part,
    softmax,
)
from var_plugin.encoders.base import TextEncoder, Vectors
from var_plugin.encoders.lite_sound import FULLY_AUDIBLE
from var_plugin.encoders.weight_folder import WeightFolder

_FEW = 4
_TINY = np.float32(1e-6)


class FewTexts:
    """A `TextEncoder` that leaves more than a few texts to another one, which computes the same in batches.

    Args:
        quick: the vector (dim,) of one text.
        full: the other one.
    """

    def __init__(self, quick: Callable[[str], Array], full: TextEncoder) -> None:
        self._quick, self.full = quick, full

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32; raises as the other encoder."""
        if not 0 < len(texts) <= _FEW:
            return self.full.encode(texts)
        return np.stack([self._quick(text) for text in texts]).astype(np.float32)


class QuickTexts:
    """The vectors of single texts in the suite's spaces; weights load at first use.

    Args:
        scene: weights of the stills.
        alan: weights of the ALAN on top.
        sound: weights of the sounds.
    """

    def __init__(self, scene: WeightFolder, alan: WeightFolder, sound: WeightFolder) -> None:
        self._folders = {"scene": scene, "alan": alan, "sound": sound}

    def scene(self, text: str) -> Array:
        """Return (dim,) in the space `scene`; the text decides how much its general part and motion count."""
        sentence, tokens = self._network.read(text)
        configuration = self._folders["scene"].configuration
        low, high = configuration["general_share"]["text"]
        share = low + (high - low) * self._strangeness(sentence)
        general = self._weights("scene", "general")
        projected = normalized(np.asarray((sentence - general["centre"]) @ general["projection"], np.float32))
        objects = np.concatenate([(1 - share) ** 0.5 * self._learned(tokens), share**0.5 * projected])
        return self._with_motion(normalized(objects), sentence)

    def sound(self, text: str) -> Array:
        """Return (dim,) in the space `sound`; the last coordinate is that of what cannot be heard."""
        sentence, _ = self._network.read(text)
        tower = self._weights("sound", "sentence_tower")
        vector = normalized(linear(sentence, part(tower, "project")) + _residual(sentence, tower))
        found = 1 / (1 + np.exp(-linear(sentence, self._weights("sound", "audible.linear"))))
        audible = np.minimum(found / np.float32(FULLY_AUDIBLE), 1)
        return np.concatenate([vector * audible, np.sqrt(np.maximum(1 - np.square(audible), 0))])

    def _learned(self, tokens: Array) -> Array:
        """Return the vector of token states (time, 384), as `lite_towers.Tower`."""
        tower = self._weights("scene", "text_tower")
        scores = np.pad(linear(tokens, part(tower, "attention")), ((0, 0), (1, 0)))
        pooled = layer_norm(softmax(scores, axis=0).T @ tokens, part(tower, "norm"))
        return normalized(linear(pooled.reshape(-1), part(tower, "project")) + _residual(pooled[0], tower))

    def _strangeness(self, sentence: Array) -> float:
        """As `GeneralPart.strangeness`."""
        general = self._weights("scene", "general")
        name, caption = general["familiar"]
        centred = sentence - general["caption_centre"]
        found = np.square(centred @ general["caption_directions"]).sum() / np.square(centred).sum()
        return float(np.clip((caption - found) / (caption - name), 0, 1))

    def _with_motion(self, objects: Array, sentence: Array) -> Array:
        """As `ResidualAlanModel.texts`."""
        motion = linear(sentence, self._weights("alan", "alan.listening"))
        length = max(np.linalg.norm(motion), _TINY)
        motion = motion * (np.tanh(length) / length)
        length = max(np.linalg.norm(motion), _TINY)
        least = self._folders["alan"].configuration["model"]["least_heard"]
        motion = motion * np.float32(max(length - least, 0) / (1 - least) / length)
        rest = np.sqrt(np.maximum(1 - np.square(motion).sum(), 0))
        vector = np.concatenate([rest * objects, motion])
        return np.pad(vector, (0, self._folders["alan"].configuration["dim"] - len(vector)))

    @cached_property
    def _network(self) -> NumpyMiniLM:
        factors = self._weights("scene", "layers")
        layers = [name.removesuffix(".up") for name in factors if name.endswith(".up")]
        return NumpyMiniLM({layer: factors[f"{layer}.up"] @ factors[f"{layer}.down"] for layer in layers})

    def _weights(self, space: str, name: str) -> dict[str, Array]:
        return part(self._tensors[space], name)

    @cached_property
    def _tensors(self) -> dict[str, dict[str, Array]]:
        return {
            space: {name: array.astype(np.float32) for name, array in load_file(folder.tensors).items()}
            for space, folder in self._folders.items()
        }


def _residual(vector: Array, tower: dict[str, Array]) -> Array:
    return linear(gelu(linear(vector, part(tower, "residual.0"))), part(tower, "residual.3"))
