"""Public checkpoints in their published form, with random weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from var_plugin.encoders.backbones.published import PUBLISHED, convert


def random_weights(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Weights that keep the size of what passes through them, with statistics that are no identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in PUBLISHED[name].network().state_dict().items()}
    weights = {}
    for key, shape in shapes.items():
        fan_in = shape[1:].numel() if len(shape) > 1 else 0
        if fan_in:
            weights[key] = torch.empty(shape).uniform_(-1, 1, generator=generator) * (6 / fan_in) ** 0.5
        elif key.endswith(("running_var", "bn.weight")):
            weights[key] = torch.empty(shape).uniform_(0.5, 1.5, generator=generator)
        else:
            weights[key] = torch.empty(shape).uniform_(-0.1, 0.1, generator=generator)
    return weights


def save_published(name: str, folder: Path, seed: int = 0) -> Path:
    """Save a pickle as it is published: of torch tensors, or, as the whitening of VGGish, of NumPy arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PUBLISHED[name].file
    weights: dict[str, object] = dict(random_weights(name, seed))
    if name == "vggish-pca":
        weights = {key: value.double().numpy() for key, value in random_weights(name, seed).items()}
        weights["pca_means"] = np.asarray(weights["pca_means"]).reshape(-1, 1)
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    if name == "vggish-pca":  # NumPy's functions had other names when it was written
        path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
    return path


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def convert_random(name: str, models: Path, scratch: Path, seed: int = 0) -> Path:
    """Convert a checkpoint with random weights into a folder of models."""
    path = save_published(name, scratch, seed)
    folder = convert(name, path, models, sha256_of(path))
    path.unlink()
    return folder
