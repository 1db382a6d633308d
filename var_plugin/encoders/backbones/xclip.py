"""X-CLIP (Ni et al., ECCV 2022) through transformers: text, and clips of several frames, in one space.

The score of the network adapts the text to each video. A vector store compares embeddings that are computed
independently, so this part is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.clip import (
    ClipNetwork,
    DualEncoderText,
    normalized_output,
    preprocess_images,
    require_model_type,
)
from var_plugin.encoders.base import ImageArray, NoDetectorMixin, Space, Vectors, in_batches
from var_plugin.encoders.clip_features import PerFrameMixin, mean_pool
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.media.decoded import Frame


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of an X-CLIP model. The network is loaded on first use.

    Raises:
        MissingWeightsError: see `Checkpoint.folder`.
        UnknownSuiteError: the model has another type.
    """
    require_model_type(checkpoint, ("xclip",), "only X-CLIP models are supported here")
    video = XClipVideoEncoder(ClipNetwork(checkpoint))
    space = Space(
        name="scene",
        dim=video.network.dim,
        metric="IP",
        modalities=frozenset(("text", "image", "video")),
        fingerprint=checkpoint.fingerprint,
    )
    return SpaceEncoders(space, text=DualEncoderText(video.network), image=XClipImageEncoder(video), video=video)


class XClipVideoEncoder(PerFrameMixin, NoDetectorMixin):
    """Encode consecutive clips of as many frames as the network takes; a `VideoEncoder`."""

    def __init__(self, network: ClipNetwork) -> None:
        self.network = network
        self.frames_per_clip = self.stride = int(network.checkpoint.config.vision_config.num_frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input frames."""
        return self.network.image_size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return (n, dim) float32, L2-normalised."""
        images = [frame.image for frame in frames]
        return self.encode_clips(
            [images[start : start + self.frames_per_clip] for start in range(0, len(frames), self.stride)]
        )

    def encode_clips(self, clips: Sequence[Sequence[ImageArray]]) -> Vectors:
        """Return (clips, dim) float32, L2-normalised, for clips of `frames_per_clip` images."""
        return in_batches(self._encode, clips, self.network.dim)

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the mean-pooled clips, (dim,)."""
        return np.asarray(mean_pool(clips, [slice(None)])[0], np.float32)

    def _encode(self, clips: Sequence[Sequence[ImageArray]]) -> Vectors:
        model = self.network.model
        images = [image for clip in clips for image in clip]
        pixels = preprocess_images(images, self.network.image_processor, model.device, model.dtype)
        pixels = pixels.reshape(len(clips), self.frames_per_clip, *pixels.shape[-3:])
        return normalized_output(model.get_video_features(pixel_values=pixels))


class XClipImageEncoder:
    """Encode an image as a clip of identical frames; an `ImageEncoder`."""

    def __init__(self, video: XClipVideoEncoder) -> None:
        self._video = video

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input images."""
        return self._video.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32, L2-normalised, for RGB images of the input size."""
        return self._video.encode_clips([[image] * self._video.frames_per_clip for image in images])
