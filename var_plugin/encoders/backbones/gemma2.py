"""EmbeddingGemma 2 through transformers: text, image, audio and video in one vector space.

Two spaces hold its vectors. `scene` stores video and `sound` stores audio, so that audio segments stay apart from video
segments. Vectors of both are comparable. A text or audio query searches both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from threading import Lock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.clip import preprocess_images, require_model_type
from var_plugin.encoders.backbones.sentence_transformers import require_pooling
from var_plugin.encoders.backbones.windows import (
    WINDOW_SECONDS,
    AudioQueryWindows,
    VideoWindowsMixin,
    without_silent_end,
)
from var_plugin.encoders.base import ImageArray, Space, Vectors, in_batches, l2_normalize
from var_plugin.encoders.hub import Checkpoint, device
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.errors import InvalidInputError, InvalidSettingError
from var_plugin.media.decoded import SAMPLE_RATE, Frame

if TYPE_CHECKING:
    import torch

DIMS = (512, 256, 128)
"""Published Matryoshka dimensions below the full dimension."""
MAX_TOKENS = 8_192
"""Context length of the model card. Longer texts are truncated."""
QUERY_PROMPT = "task: search result | query: "
"""Prompt of text queries in the model card. Images, audio and video have no prompt."""

_PROCESSOR, _PROMPTS = "processor_config.json", "config_sentence_transformers.json"
_VIDEO_TOKEN = "<|video|>"  # noqa: S105
# Landscape grid that uses all soft tokens: 7 x 10 for the 70 of a frame, 14 x 20 for the 280 of an image.
_ASPECT = 0.7
# Inputs per batch. An image has 2,520 patches, a clip of 8 frames 5,040.
_IMAGES, _CLIPS, _WINDOWS, _TEXTS = 4, 2, 8, 32

Tower = Literal["vision", "audio"]
Kind = Literal["image", "video"]


def spaces(checkpoint: Checkpoint, dim: int | None = None) -> dict[str, SpaceEncoders]:
    """Return the spaces `scene` and `sound` of a model. Weights are loaded on first use, towers with their modality.

    Args:
        checkpoint: the model.
        dim: number of leading dimensions that are kept. None: all.

    Raises:
        MissingWeightsError: see `Checkpoint.folder`.
        InvalidInputError: the installed transformers does not support the model, or it is not pooled by the mean.
        UnknownSuiteError: the model has another type.
        InvalidSettingError: the dtype is float16.
    """
    require_model_type(checkpoint, ("embedding_gemma2",), "only EmbeddingGemma 2 models are supported here")
    if checkpoint.options.dtype == "float16":
        raise InvalidSettingError(
            "EmbeddingGemma 2 cannot run in float16",
            why="its activations exceed the range of float16, and the vectors are NaN or degraded without an error",
            fix="set VAR_PLUGIN_DTYPE to float32 or bfloat16",
        )
    network = Gemma2Network(checkpoint, dim)
    text, audio = Gemma2Text(network), Gemma2Audio(network)
    fingerprint = checkpoint.fingerprint
    if dim is not None:
        fingerprint = hashlib.sha256(f"{fingerprint}@{dim}".encode()).hexdigest()[:16]
    scene = Space("scene", network.dim, "IP", frozenset(("text", "image", "audio", "video")), fingerprint)
    sound = Space("sound", network.dim, "IP", frozenset(("text", "audio")), fingerprint)
    return {
        "scene": SpaceEncoders(
            scene,
            text=text,
            image=Gemma2Image(network),
            video=Gemma2Video(network),
            audio_query=AudioQueryWindows(audio),
        ),
        "sound": SpaceEncoders(sound, text=text, audio=audio),
    }


class Gemma2Network:
    """The text model, with the vision and audio towers once they are needed, and the preprocessing."""

    def __init__(self, checkpoint: Checkpoint, dim: int | None) -> None:
        self.checkpoint = checkpoint
        self.dim = dim or int(checkpoint.config.text_config.embedding_dim)
        self._model: Any = None
        self._loading = Lock()
        self._tokenizing = Lock()
        require_pooling(checkpoint, "mean", "EmbeddingGemma 2")

    def model(self, tower: Tower | None = None) -> Any:
        """Return the network with a tower. Raises as `Checkpoint.load`."""
        with self._loading:
            if self._model is None:
                self._model = self._load(tower)
            elif tower and getattr(self._model, f"{tower}_tower") is None:
                loaded = self._load(tower)
                for part in (f"{tower}_tower", f"embed_{tower}"):
                    setattr(self._model, part, getattr(loaded, part))
                setattr(self._model.config, f"{tower}_config", getattr(loaded.config, f"{tower}_config"))
            return self._model

    def embed(self, texts: Sequence[str], tower: Tower | None = None, **media: Any) -> Vectors:
        """Embed inputs as in the model card: mean pooling over all tokens, truncation, L2 normalisation.

        Args:
            texts: n texts, with one placeholder token per soft token of the media.
            tower: tower that embeds the media.
            media: arguments of the network.

        Returns:
            (n, dim) float32.
        """
        model = self.model(tower)
        with self._tokenizing:  # a fast tokenizer fails if two threads set its padding at once
            tokens = self.tokenizer(
                list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_token_type_ids=False,
                return_tensors="pt",
            ).to(model.device)  # fmt: skip
        media = {name: value.to(model.device) for name, value in media.items()}
        hidden = model(**tokens, **media).last_hidden_state.float()
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        return l2_normalize(((hidden * mask).sum(1) / mask.sum(1))[:, : self.dim].numpy(force=True))

    def patches(self, images: Sequence[ImageArray], kind: Kind) -> tuple[torch.Tensor, torch.Tensor]:
        """Return patches (n, patches, width) and their positions (n, patches, 2), (x, y), of images of `size`."""
        import torch

        processor = self.processor(kind)
        # The network scales pixels before it converts their dtype.
        pixels = preprocess_images(images, processor, self.model("vision").device, torch.float32)
        size = processor.patch_size
        count, channels, rows, columns = len(pixels), 3, pixels.shape[2] // size, pixels.shape[3] // size
        grid = pixels.reshape(count, channels, rows, size, columns, size).permute(0, 2, 4, 3, 5, 1)
        x, y = torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy")
        positions = torch.stack([x, y], dim=-1).reshape(1, rows * columns, 2).repeat(count, 1, 1)
        return grid.reshape(count, rows * columns, -1), positions

    def size(self, kind: Kind) -> tuple[int, int]:
        """Return (height, width) of images or frames that use the whole budget of soft tokens."""
        processor = self.processor(kind)
        side = processor.patch_size * processor.pooling_kernel_size
        rows = round((_ASPECT * processor.max_soft_tokens) ** 0.5)
        return rows * side, processor.max_soft_tokens // rows * side

    def soft_tokens(self, kind: Kind) -> int:
        """Return the number of soft tokens of an image or frame of `size`."""
        processor = self.processor(kind)
        height, width = self.size(kind)
        return int(height * width // (processor.patch_size * processor.pooling_kernel_size) ** 2)

    def processor(self, kind: Kind) -> SimpleNamespace:
        """Return the parameters of the image or video processor. The processors themselves need torchvision."""
        return SimpleNamespace(**self.checkpoint.read_json(_PROCESSOR)[f"{kind}_processor"])

    @cached_property
    def prompt(self) -> str:
        """Prompt of text queries: of the model, else that of the model card."""
        if not (self.checkpoint.folder / _PROMPTS).is_file():
            return QUERY_PROMPT
        return str(self.checkpoint.read_json(_PROMPTS).get("prompts", {}).get("query", QUERY_PROMPT))

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model, with the video token, which the processor of transformers adds as well.

        Raises:
            InvalidInputError: the video token is not that of the configuration.
        """
        tokenizer = self.checkpoint.tokenizer()
        tokenizer.add_special_tokens({"additional_special_tokens": [_VIDEO_TOKEN]})
        if tokenizer.convert_tokens_to_ids(_VIDEO_TOKEN) != self.checkpoint.config.video_token_id:
            raise InvalidInputError(
                f"the tokenizer of {self.checkpoint.name} does not fit its network",
                why=f"{_VIDEO_TOKEN} is not the video token of config.json",
                fix="fetch the model again",
            )
        return tokenizer

    @cached_property
    def audio_processor(self) -> Any:
        """The feature extractor of the model."""
        return self.checkpoint.processor("AutoFeatureExtractor")

    def _load(self, tower: Tower | None) -> Any:
        import torch

        options = self.checkpoint.options
        config = copy(self.checkpoint.config)
        for other in ("vision", "audio"):
            if other != tower:
                setattr(config, f"{other}_config", None)
        model = self.checkpoint.load(config=config, dtype=getattr(torch, options.dtype), exact=True)
        return model.eval().to(device(options))


class Gemma2Text:
    """Encode texts with the prompt for queries; a `TextEncoder`."""

    def __init__(self, network: Gemma2Network) -> None:
        self._network = network

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        prompted = [self._network.prompt + text for text in texts]
        return in_batches(self._network.embed, prompted, self._network.dim, _TEXTS)


class Gemma2Image:
    """Encode images without a prompt; an `ImageEncoder`."""

    def __init__(self, network: Gemma2Network) -> None:
        self._network = network

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input images."""
        return self._network.size("image")

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images of the input size."""
        return in_batches(self._encode, images, self._network.dim, _IMAGES)

    def _encode(self, images: Sequence[ImageArray]) -> Vectors:
        network, names = self._network, self._network.tokenizer
        patches, positions = network.patches(images, "image")
        text = f"{names.boi_token}{names.image_token * network.soft_tokens('image')}{names.eoi_token}"
        return network.embed([text] * len(images), "vision", pixel_values=patches, image_position_ids=positions)


class Gemma2Video(VideoWindowsMixin):
    """Encode the frames of a window together, as one video, without a prompt; a `VideoEncoder`."""

    def __init__(self, network: Gemma2Network) -> None:
        self._network = network
        processor = network.processor("video")
        self.fps = float(processor.fps)
        self.frames_per_clip = self.stride = max(1, min(processor.max_frames, round(WINDOW_SECONDS * self.fps)))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input frames."""
        return self._network.size("video")

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return vectors (n, dim) float32, L2-normalised, of windows of frames."""
        return in_batches(self._encode, self.windows(frames), self._network.dim, _CLIPS)

    def _encode(self, windows: Sequence[Sequence[Frame]]) -> Vectors:
        import torch

        network, names = self._network, self._network.tokenizer
        patches, positions = network.patches([frame.image for window in windows for frame in window], "video")
        frame = f"{names.boi_token}{_VIDEO_TOKEN * network.soft_tokens('video')}{names.eoi_token}"
        return network.embed(
            [frame * len(window) for window in windows],
            "vision",
            pixel_values_videos=patches,
            video_position_ids=positions,
            num_frames_per_video=torch.tensor([len(window) for window in windows]),
        )


class Gemma2Audio:
    """Encode windows of audio without a prompt; an `AudioEncoder`."""

    window = hop = WINDOW_SECONDS * SAMPLE_RATE

    def __init__(self, network: Gemma2Network) -> None:
        self._network = network

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for (n, window) float32 in -1…1, 16 kHz mono."""
        return in_batches(self._encode, windows, self._network.dim, _WINDOWS)

    def _encode(self, windows: NDArray[np.float32]) -> Vectors:
        network, names = self._network, self._network.tokenizer
        features = network.audio_processor([without_silent_end(window) for window in windows], return_tensors="pt")
        model = network.model("audio")
        # Two convolutions with stride 2 leave every fourth frame.
        counts = features["input_features_mask"][:, ::4].sum(1).tolist()
        texts = [f"{names.boa_token}{names.audio_token * count}{names.eoa_token}" for count in counts]
        return network.embed(
            texts,
            "audio",
            input_features=features["input_features"].to(model.dtype),
            input_features_mask=features["input_features_mask"],
        )
