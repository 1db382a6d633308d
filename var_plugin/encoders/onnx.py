"""Export networks to ONNX, cache the graphs and run them with ONNX Runtime."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def graph_file(name: str, build: Callable[[], bytes], cache: Path) -> Path:
    """Return the cached file of a graph. Build it if it does not exist.

    Args:
        name: name of the graph; it must differ for other weights.
        build: returns the content of the file.
        cache: folder for derived files.
    """
    folder = cache / "weights"
    target = folder / f"{name}.onnx"
    if not target.exists():
        graph = build()
        folder.mkdir(parents=True, exist_ok=True)
        # Atomic write: several processes may build the same graph at once.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=target.name, delete=False) as file:
            file.write(graph)
        Path(file.name).replace(target)
    return target


def runner(graph: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a graph of `exported` on the CPU with as many threads as PyTorch uses."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])


def exported(network: nn.Module, shape: tuple[int, ...]) -> bytes:
    """Export a network on the CPU as an ONNX graph.

    Args:
        network: maps one float32 tensor (batch, *shape) to one float32 tensor.
        shape: shape of one input, without the batch dimension.

    Returns:
        Content of the ONNX file.
    """
    import torch

    graph = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the legacy exporter needs no extra package, but warns that it is deprecated
        torch.onnx.export(
            network,
            (torch.zeros(1, *shape),),
            graph,  # type: ignore[arg-type]  # the legacy exporter accepts a buffer
            input_names=["inputs"],
            output_names=["outputs"],
            dynamic_axes={"inputs": {0: "batch"}, "outputs": {0: "batch"}},
            dynamo=False,
            opset_version=17,
        )
    return graph.getvalue()
