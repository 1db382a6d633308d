"""Public checkpoints in their published form, with random weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.encoders.backbones.weights import weights_of
from var_plugin.encoders.convert import PUBLISHED, convert


def random_weights(name: str) -> dict[str, Tensor]:
    """Return random weights of a network."""
    with torch.device("meta"):
        network = PUBLISHED[name].network()
    return weights_of({key: value.shape for key, value in network.state_dict().items()})


def save_published(name: str, folder: Path) -> Path:
    """Save a pickle in the published format: torch tensors, or NumPy arrays for the whitening of VGGish."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PUBLISHED[name].file
    weights: dict[str, object] = dict(random_weights(name))
    if name == "vggish-pca":
        weights = {key: value.double().numpy() for key, value in random_weights(name).items()}
        weights["pca_means"] = np.asarray(weights["pca_means"]).reshape(-1, 1)
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    if name == "vggish-pca":  # the file uses old names of NumPy functions
        path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
    return path


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def convert_random(name: str, models: Path, scratch: Path) -> Path:
    """Convert a checkpoint with random weights into a folder of models."""
    path = save_published(name, scratch)
    folder = convert(name, path, models, sha256_of(path))
    path.unlink()
    return folder
