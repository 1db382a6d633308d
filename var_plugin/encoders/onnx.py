"""Networks as ONNX graphs, kept in the user's cache folder, for ONNX Runtime."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from var_plugin.config import settings

if TYPE_CHECKING:
    from torch import Tensor, nn


def graph_file(name: str, build: Callable[[], bytes]) -> Path:
    """Return the file of a graph; it is built if it is not there.

    Args:
        name: of the graph; another one for other weights.
        build: makes the file's content.
    """
    folder = settings().cache / "weights"
    target = folder / f"{name}.onnx"
    if not target.exists():
        graph = build()
        folder.mkdir(parents=True, exist_ok=True)
        # Complete or absent, also when several processes start at once.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=target.name, delete=False) as file:
            file.write(graph)
        Path(file.name).replace(target)
    return target


def runner(graph: Path) -> Callable[[Tensor], Tensor]:
    """Return what runs a graph of `exported` on the CPU, in as many threads as PyTorch uses."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])


def exported(network: nn.Module, shape: tuple[int, ...]) -> bytes:
    """Return the graph of a network on the CPU that maps (batch, *shape) to one tensor, float32."""
    import torch

    graph = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is the older one, and says so
        torch.onnx.export(
            network,
            (torch.zeros(1, *shape),),
            graph,  # type: ignore[arg-type]  # the older exporter takes a buffer
            input_names=["inputs"],
            output_names=["outputs"],
            dynamic_axes={"inputs": {0: "batch"}, "outputs": {0: "batch"}},
            dynamo=False,
            opset_version=17,
        )
    return graph.getvalue()
