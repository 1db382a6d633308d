"""Export networks to ONNX, cache the graphs and run them with ONNX Runtime."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from var_plugin.media.files import atomic_write, convert_write_errors

if TYPE_CHECKING:
    import onnxruntime
    from torch import Tensor, nn

logger = logging.getLogger(__name__)


def graph_file(name: str, build: Callable[[], bytes], cache: Path) -> Path:
    """Return the cached file of a graph. Build it if it does not exist.

    Args:
        name: name of the graph; it must differ for other weights.
        build: returns the content of the file.
        cache: folder for derived files.

    Raises:
        InvalidInputError: the file cannot be written.
    """
    target = cache / "weights" / f"{name}.onnx"
    if not target.exists():
        graph = build()
        # Atomic write: several processes may build the same graph at once.
        with atomic_write(target) as temporary, convert_write_errors(target):
            temporary.write_bytes(graph)
    return target


def open_graph(
    name: str, build: Callable[[], bytes], cache: Path, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    """Open a cached graph in ONNX Runtime on the CPU. Build it if it does not exist, and again if it is damaged.

    Args:
        name: name of the graph; it must differ for other weights.
        build: returns the content of the file.
        cache: folder for derived files.
        options: of the session.
    """
    import onnxruntime

    graph = graph_file(name, build, cache)
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the errors of ONNX Runtime have no base class
        logger.warning("%s is damaged and built again: %s", graph, error)
    graph.unlink(missing_ok=True)
    graph = graph_file(name, build, cache)
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def runner(name: str, build: Callable[[], bytes], cache: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a graph of `exported` on the CPU with as many threads as PyTorch uses.

    Args:
        name: name of the graph; it must differ for other weights.
        build: returns the content of the file.
        cache: folder for derived files.
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = open_graph(name, build, cache, options)
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
