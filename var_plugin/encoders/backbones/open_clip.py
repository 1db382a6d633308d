"""Models of open_clip: text and images in one space. Examples are MobileCLIP, PE-Core, EVA and SigLIP.

A checkpoint is a folder with `open_clip_config.json` and `open_clip_model.safetensors`, as on the Hub. Images are
scaled to the input size of the network and not cropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from types import SimpleNamespace
from typing import Any

from var_plugin.config import require
from var_plugin.encoders.backbones.clip import preprocess_images
from var_plugin.encoders.base import ImageArray, Space, Vectors, in_batches, l2_normalize
from var_plugin.encoders.hub import Checkpoint, device, unreadable_files_refused
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import InvalidInputError, MissingWeightsError

_CONFIG = "open_clip_config.json"
_LOADING_ERROR = "Error(s) in loading state_dict"
_SAVED_BY = "save_for_hf of open_clip"
_DEFAULT_SIZE = 224
# Options of a tokenizer that published models set. Others can name files, run code or drop tokens at random.
_TOKENIZER_OPTIONS = {"clean", "strip_sep_token"}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model")


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of a model. The network is loaded on first use.

    Raises:
        MissingDependencyError: open_clip is not installed.
        MissingWeightsError: see `Checkpoint.folder`.
        InvalidInputError: the configuration cannot be read, or the model needs another repository or code.
    """
    require("open-clip", "open_clip")
    network = OpenClipNetwork(checkpoint)
    space = Space("scene", network.dim, "IP", frozenset(("text", "image", "video")), checkpoint.fingerprint)
    return SpaceEncoders(space, text=OpenClipText(network), image=OpenClipImage(network))


class OpenClipNetwork:
    """A text tower and an image tower, and their preprocessing. Each part is loaded on first use."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        config = _checked_config(checkpoint)
        self._text_config: dict[str, Any] = config["text_cfg"]
        size = config["vision_cfg"].get("image_size", _DEFAULT_SIZE)
        height, width = (size, size) if isinstance(size, int) else size
        self.size = int(height), int(width)
        """(height, width) of the input images."""
        self.dim = int(config["embed_dim"])
        """Dimension of the embeddings."""
        self._tokenizing = Lock()

    @cached_property
    def model(self) -> Any:
        """The network, on the device and in the dtype of the options.

        Raises:
            MissingWeightsError: the weights are not exactly those of the network.
            InvalidInputError: open_clip cannot build the network.
        """
        import open_clip
        import torch

        folder, options = self._checkpoint.folder, self._checkpoint.options
        with unreadable_files_refused(folder), _without_root_messages():
            try:
                network = open_clip.create_model(f"local-dir:{folder}")
            except RuntimeError as error:
                first, *rest = str(error).splitlines()
                if not first.startswith(_LOADING_ERROR):
                    raise
                raise MissingWeightsError(
                    f"the weights of {folder} are not those of its network",
                    why=" ".join(rest[:1]).strip()[:200],
                    fix=f"fetch the model again, or save it with {_SAVED_BY}",
                ) from error
        return network.eval().to(device(options), getattr(torch, options.dtype))

    def tokens(self, texts: Sequence[str]) -> Any:
        """Return token ids (n, context length), tokenised as in training."""
        with self._tokenizing:  # a fast tokenizer fails if two threads set its padding at once
            return self._tokenizer(list(texts))

    def pixels(self, images: Sequence[ImageArray]) -> Any:
        """Return (n, 3, height, width), normalised with the mean and the deviation of the checkpoint."""
        weights = next(self.model.parameters())
        preprocessing = self.model.visual.preprocess_cfg
        processor = SimpleNamespace(
            do_rescale=True,
            rescale_factor=1 / 255,
            do_normalize=True,
            image_mean=_per_channel(preprocessing["mean"]),
            image_std=_per_channel(preprocessing["std"]),
        )
        return preprocess_images(images, processor, weights.device, weights.dtype)

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        # Options for transformers; the tokenizer of open_clip itself reads no files of the model.
        options = {"local_files_only": True, "trust_remote_code": False}
        is_in_folder = bool(self._text_config.get("hf_tokenizer_name"))
        folder = f"local-dir:{self._checkpoint.folder}"
        with unreadable_files_refused(self._checkpoint.folder), _without_root_messages():
            return open_clip.get_tokenizer(folder, **(options if is_in_folder else {}))


class OpenClipText:
    """Encode texts; a `TextEncoder`."""

    def __init__(self, network: OpenClipNetwork) -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        return in_batches(self._encode, texts, self._network.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        model = self._network.model
        tokens = self._network.tokens(texts).to(next(model.parameters()).device)
        return l2_normalize(model.encode_text(tokens).float().numpy(force=True))


class OpenClipImage:
    """Encode images; an `ImageEncoder`."""

    def __init__(self, network: OpenClipNetwork) -> None:
        self._network = network

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input images."""
        return self._network.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images of the input size."""
        return in_batches(self._encode, images, self._network.dim)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        return l2_normalize(self._network.model.encode_image(self._network.pixels(images)).float().numpy(force=True))


def _checked_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return `model_cfg` of the configuration, if the model needs only the files of its folder and no code."""
    content = checkpoint.read_json(_CONFIG)
    config = content.get("model_cfg") if isinstance(content, dict) else None
    parts = config if isinstance(config, dict) else {}
    vision, text = parts.get("vision_cfg"), parts.get("text_cfg")
    if not isinstance(vision, dict) or not isinstance(text, dict) or not isinstance(parts.get("embed_dim"), int):
        raise InvalidInputError(
            f"{checkpoint.folder / _CONFIG} does not describe a model",
            why="it has no model_cfg with embed_dim, vision_cfg and text_cfg",
            fix="fetch the model again",
        )
    options = text.get("tokenizer_kwargs") or {}
    if text.get("hf_model_name"):
        raise _refused(checkpoint, f"its text tower is the model {text['hf_model_name']!r} of transformers")
    if ":" in str(vision.get("timm_model_name", "")):
        raise _refused(checkpoint, f"its image tower is {vision['timm_model_name']!r}, in another repository")
    if unknown := sorted(set(options) - _TOKENIZER_OPTIONS):
        raise _refused(checkpoint, f"its tokenizer has the option {unknown[0]!r}")
    named = text.get("hf_tokenizer_name")
    if named and not any(any(checkpoint.folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise InvalidInputError(
            f"the model {checkpoint.name} lacks its tokenizer",
            why=f"it uses the tokenizer {named!r}, whose files are not in {checkpoint.folder}",
            fix="save the tokenizer in the folder of the model, with save_pretrained of transformers",
        )
    return parts


def _refused(checkpoint: Checkpoint, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"the model {checkpoint.name} needs more than its own weights",
        why=f"{why}, which is not supported",
        fix="choose a model of open_clip whose towers are those of open_clip or timm",
    )


def _per_channel(value: float | Sequence[float]) -> Sequence[float]:
    return value if isinstance(value, Sequence) else (value,) * 3


@contextmanager
def _without_root_messages() -> Iterator[None]:
    """Discard messages to the root logger. open_clip uses it, which would also set up a handler for all libraries."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
