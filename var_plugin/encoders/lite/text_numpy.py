"""NumPy text encoders of the lite suite. They compute the same as `image_text`, `video` and `audio` without torch.

Importing torch takes most of the time of a search command. For a few texts, NumPy is as fast as torch. ONNX Runtime
costs 7 % more processor time for a whole search, because importing it and creating a session take longer than a text
(docs/benchmarks/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from var_plugin.encoders.backbones.minilm import MAX_TOKENS, TUNABLE_LAYERS, model_folder
from var_plugin.encoders.base import TextEncoder, Vectors
from var_plugin.encoders.lite.audio import AUDIBLE_THRESHOLD
from var_plugin.encoders.lite.events import EventHeads, append_events
from var_plugin.encoders.weights import WeightFolder

_MAX_SMALL_BATCH = 4
_TINY = np.float32(1e-6)


class SmallBatchTextEncoder:
    """A `TextEncoder` that encodes small batches in NumPy and passes larger batches to another encoder.

    Args:
        encode_one: returns the vector (dim,) of one text.
        full: encoder for larger batches; it computes the same vectors.
    """

    def __init__(self, encode_one: Callable[[str], Array], full: TextEncoder) -> None:
        self._encode_one, self.full = encode_one, full

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (n, dim) float32. Raises as the encoder for larger batches."""
        if not 0 < len(texts) <= _MAX_SMALL_BATCH:
            return self.full.encode(texts)
        return np.stack([self._encode_one(text) for text in texts]).astype(np.float32)


class NumpyTextEncoder:
    """Encode single texts into the spaces of the lite suite. Weights load on first use.

    Args:
        scene: weights of the image and text towers.
        alan: weights of the ALAN model.
        heads: the event heads.
        sound: weights of the `sound` space.
    """

    def __init__(self, scene: WeightFolder, alan: WeightFolder, heads: EventHeads, sound: WeightFolder) -> None:
        self._folders, self._heads = {"scene": scene, "alan": alan, "sound": sound}, heads

    def scene(self, text: str) -> Array:
        """Return the vector (dim,) in the `scene` space. The text sets the weights of ConSE, motion and events."""
        sentence, tokens = self._network.read(text)
        configuration = self._folders["scene"].configuration
        low, high = configuration["general_share"]["text"]
        share = low + (high - low) * self._out_of_distribution_score(sentence)
        general = self._weights("scene", "general")
        projected = normalized(np.asarray((sentence - general["centre"]) @ general["projection"], np.float32))
        objects = np.concatenate([(1 - share) ** 0.5 * self._learned(tokens), share**0.5 * projected])
        vector = self._with_motion(normalized(objects), sentence)
        return np.asarray(append_events(vector[None], self._heads.described_events(sentence[None]))[0])

    def sound(self, text: str) -> Array:
        """Return the vector (dim,) in the `sound` space. The last dimension marks what is not audible."""
        sentence, _ = self._network.read(text)
        tower = self._weights("sound", "sentence_tower")
        vector = normalized(linear(sentence, part(tower, "project")) + _residual(sentence, tower))
        probability = 1 / (1 + np.exp(-linear(sentence, self._weights("sound", "audible.linear"))))
        audible = np.minimum(probability / np.float32(AUDIBLE_THRESHOLD), 1)
        return np.concatenate([vector * audible, np.sqrt(np.maximum(1 - np.square(audible), 0))])

    def _learned(self, tokens: Array) -> Array:
        """Return the vector of token states (time, 384), as `networks.TokenTower`."""
        tower = self._weights("scene", "text_tower")
        scores = np.pad(linear(tokens, part(tower, "attention")), ((0, 0), (1, 0)))
        pooled = layer_norm(softmax(scores, axis=0).T @ tokens, part(tower, "norm"))
        return normalized(linear(pooled.reshape(-1), part(tower, "project")) + _residual(pooled[0], tower))

    def _out_of_distribution_score(self, sentence: Array) -> float:
        """Return the out-of-distribution score, as `ConSEHead.out_of_distribution_score`."""
        general = self._weights("scene", "general")
        name, caption = general["familiar"]
        centred = sentence - general["caption_centre"]
        ratio = np.square(centred @ general["caption_directions"]).sum() / np.square(centred).sum()
        return float(np.clip((caption - ratio) / (caption - name), 0, 1))

    def _with_motion(self, objects: Array, sentence: Array) -> Array:
        """Append the motion dimensions, as `ResidualAlanModel.encode_texts`."""
        motion = linear(sentence, self._weights("alan", "alan.listening"))
        length = max(np.linalg.norm(motion), _TINY)
        motion = motion * (np.tanh(length) / length)
        length = max(np.linalg.norm(motion), _TINY)
        least = self._folders["alan"].configuration["model"]["motion_threshold"]
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


Array = NDArray[np.float32]
Weights = Mapping[str, Array]

_HEADS = 12
_LAYERS = 6
_EPSILON = 1e-12
_WORDS = "embeddings.word_embeddings"
# Error function by Abramowitz and Stegun 7.1.26. Its error of 1.5e-7 is about the precision of float32.
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
_ERF_SCALE = 0.3275911
# Number of cached texts: all spaces encode the same text in turn.
_REMEMBERED = 8


class NumpyMiniLM:
    """MiniLM in NumPy, with its tokenizer. The weights load in the constructor.

    Args:
        deltas: weight updates of the upper layers for the tuned token states, as for `MiniLM`.

    Raises:
        MissingWeightsError: the package with the weights is not installed.
    """

    def __init__(self, deltas: Weights) -> None:
        from safetensors import safe_open
        from tokenizers import Tokenizer

        folder = model_folder()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        file: Any = safe_open(folder / "model.safetensors", framework="np")
        # The word embeddings are half of the file, and a text needs only a few rows.
        self._words = file.get_slice(f"{_WORDS}.weight")
        weights = {name: file.get_tensor(name) for name in file.keys() if not name.startswith(_WORDS)}  # noqa: SIM118
        self._embeddings = part(weights, "embeddings")
        layers = [part(weights, f"encoder.layer.{number}") for number in range(_LAYERS)]
        tuned = [
            {name: weight + deltas.get(f"{place}.{name}", np.float32(0)) for name, weight in layers[number].items()}
            for place, number in enumerate(TUNABLE_LAYERS)
        ]
        self._layers, self._tuned = [_grouped(layer) for layer in layers], [_grouped(layer) for layer in tuned]
        self.read = lru_cache(_REMEMBERED)(self._read)

    def _read(self, text: str) -> tuple[Array, Array]:
        """Return the L2-normalised sentence vector (384,) of the original model and the tuned states (time, 384)."""
        states = self._embedded(self._tokenizer.encode(text).ids)
        for layer in self._layers[: TUNABLE_LAYERS[0]]:
            states = _layer(states, layer)
        published = tuned = states
        for layer in self._layers[TUNABLE_LAYERS[0] :]:
            published = _layer(published, layer)
        for layer in self._tuned:
            tuned = _layer(tuned, layer)
        return normalized(published.mean(axis=0)), tuned

    def _embedded(self, tokens: list[int]) -> Array:
        states = (
            np.concatenate([self._words[token : token + 1] for token in tokens])
            + self._embeddings["position_embeddings.weight"][: len(tokens)]
            + self._embeddings["token_type_embeddings.weight"][0]
        )
        return layer_norm(states, part(self._embeddings, "LayerNorm"), _EPSILON)


def _layer(states: Array, weights: Mapping[str, Weights]) -> Array:
    """Run one BERT layer over the states (time, 384) of one text."""

    def heads(name: str) -> Array:
        return linear(states, weights[f"attention.self.{name}"]).reshape(len(states), _HEADS, -1).swapaxes(0, 1)

    query, key, value = (heads(name) for name in ("query", "key", "value"))
    attention = softmax(query @ key.swapaxes(1, 2) / np.float32(query.shape[-1] ** 0.5), axis=-1)
    mixed = (attention @ value).swapaxes(0, 1).reshape(states.shape)
    attended = states + linear(mixed, weights["attention.output.dense"])
    attended = layer_norm(attended, weights["attention.output.LayerNorm"], _EPSILON)
    output = attended + linear(gelu(linear(attended, weights["intermediate.dense"])), weights["output.dense"])
    return layer_norm(output, weights["output.LayerNorm"], _EPSILON)


def _grouped(weights: Weights) -> dict[str, dict[str, Array]]:
    """Group the weights by layer."""
    groups: dict[str, dict[str, Array]] = {}
    for name, array in weights.items():
        layer, _, kind = name.rpartition(".")
        groups.setdefault(layer, {})[kind] = array
    return groups


def part(weights: Weights, name: str) -> dict[str, Array]:
    """Return the arrays with the prefix `name.`, without the prefix."""
    return {key.removeprefix(f"{name}."): array for key, array in weights.items() if key.startswith(f"{name}.")}


def linear(inputs: Array, weights: Weights) -> Array:
    """Apply a linear layer to (..., width)."""
    result: Array = inputs @ weights["weight"].T + weights["bias"]
    return result


def layer_norm(inputs: Array, weights: Weights, epsilon: float = 1e-5) -> Array:
    """Apply a layer norm over the last axis."""
    centred = inputs - inputs.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(epsilon))
    result: Array = centred / deviation * weights["weight"] + weights["bias"]
    return result


def softmax(inputs: Array, axis: int) -> Array:
    """Apply the softmax along an axis."""
    powers = np.exp(inputs - inputs.max(axis=axis, keepdims=True))
    result: Array = powers / powers.sum(axis=axis, keepdims=True)
    return result


def gelu(inputs: Array) -> Array:
    """Apply the GELU activation, with an approximate error function."""
    size = np.abs(inputs) * np.float32(0.5**0.5)
    step = 1 / (1 + np.float32(_ERF_SCALE) * size)
    sums = np.zeros_like(step)
    for factor in _ERF:
        sums = (sums + np.float32(factor)) * step
    error = np.copysign(1 - sums * np.exp(-size * size), inputs)
    result: Array = inputs * np.float32(0.5) * (1 + error)
    return result


def normalized(vector: Array) -> Array:
    """Return the L2-normalised vector."""
    result: Array = vector / max(np.linalg.norm(vector), np.float32(1e-12))
    return result
