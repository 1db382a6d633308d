"""X-CLIP (Ni et al., ECCV 2022) through transformers: sentences, and clips of several frames, to one space.

The network's own score lets each video adjust the text. A store compares vectors that were made apart, so that part is
left out here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.clip import ClipNetwork, TextTower, pixels, pooled, require_kind
from var_plugin.encoders.base import ImageArray, Space, Vectors
from var_plugin.encoders.clip_features import PerFrameMixin, mean_pool
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import in_batches
from var_plugin.media.frames import Frame


def scene_space(checkpoint: Checkpoint) -> SpaceEncoders:
    """Return the space of an X-CLIP model; its network loads at the first use.

    Raises:
        MissingWeightsError: as `Checkpoint.folder`.
        UnknownSuiteError: it is another kind of model.
    """
    require_kind(checkpoint, ("xclip",), "X-CLIP models are taken here")
    video = XClipVideo(ClipNetwork(checkpoint))
    space = Space(
        name="scene",
        dim=video.network.dim,
        metric="IP",
        modalities=frozenset(("text", "image", "video")),
        fingerprint=checkpoint.fingerprint,
    )
    return SpaceEncoders(space, text=TextTower(video.network), image=XClipImages(video), video=video)


class XClipVideo(PerFrameMixin):
    """Clips of as many frames as the network integrates, one after another; a `VideoEncoder`."""

    anomaly_scope = None

    def __init__(self, network: ClipNetwork) -> None:
        self.network = network
        self.frames_per_clip = self.stride = int(network.checkpoint.config.vision_config.num_frames)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames that the network looks at."""
        return self.network.image_size

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return (n, dim) float32 of length one."""
        images = [frame.image for frame in frames]
        return self.encode_stacks(
            [images[start : start + self.frames_per_clip] for start in range(0, len(frames), self.stride)]
        )

    def encode_stacks(self, stacks: Sequence[Sequence[ImageArray]]) -> Vectors:
        """Return (len(stacks), dim) float32 of length one for clips of `frames_per_clip` images."""
        return in_batches(self._encode, stacks, self.network.dim)

    def anomaly(self, clips: Vectors) -> None:
        """It has no trained score."""

    def embed_video(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return the mean direction of the clips, (dim,)."""
        return np.asarray(mean_pool(clips, [slice(None)])[0], np.float32)

    def _encode(self, stacks: Sequence[Sequence[ImageArray]]) -> Vectors:
        model = self.network.model
        images = [image for stack in stacks for image in stack]
        prepared = pixels(images, self.network.image_processor, model.device, model.dtype)
        clips = prepared.reshape(len(stacks), self.frames_per_clip, *prepared.shape[-3:])
        return pooled(model.get_video_features(pixel_values=clips))


class XClipImages:
    """Images as clips in which nothing moves; satisfies `ImageEncoder`."""

    def __init__(self, video: XClipVideo) -> None:
        self._video = video

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images that the network looks at."""
        return self._video.size

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        """Return (n, dim) float32 of length one for `size` RGB images."""
        return self._video.encode_stacks([[image] * self._video.frames_per_clip for image in images])
