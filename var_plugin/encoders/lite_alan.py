"""The lite suite's ALAN: the `scene` space with a motion stream, clip anomaly scores and vectors of whole videos.

`lite.py` has the space of stills that it stands on; `alan/residual.py` is the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.efficientnet_lite import SIZE
from var_plugin.encoders.backbones.motion import SIDE, MotionBackbone
from var_plugin.encoders.base import Background, Confidence, Picture, Vectors
from var_plugin.encoders.lite import LitePictureEncoder, LiteTextEncoder, LiteWeights
from var_plugin.encoders.video import EachFrame
from var_plugin.encoders.weight_folder import LITE, WeightFolder, in_batches
from var_plugin.media.frames import Frame
from var_plugin.types import Modality

if TYPE_CHECKING:
    from torch import Tensor

    from var_plugin.encoders.alan.residual import ResidualAlanModel
    from var_plugin.encoders.backbones.minilm import MiniLM

SCOPE = (
    "fights between people, learned from 240 short clips of surveillance cameras; accidents, fires, thefts, weapons and "
    "falls it has not seen"
)
"""What the trained anomaly score knows."""


class LiteAlan(WeightFolder):
    """The model's weights: a folder with `alan.safetensors` and `alan.json`."""

    def __init__(self, folder: Path = LITE) -> None:
        """Remember the folder; the space of stills lies in the same."""
        super().__init__(folder, "alan", stands_on=LiteWeights(folder).fingerprint)

    @cached_property
    def model(self) -> ResidualAlanModel:
        """The model, ready for use."""
        from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel

        model: ResidualAlanModel = ResidualAlanModel(ResidualAlanConfig(**self.configuration["model"]))
        model.load_state_dict(self.part("alan"))
        model.eval()
        return model

    @property
    def dim(self) -> int:
        """Width of the space."""
        return int(self.configuration["dim"])

    def background(self) -> dict[Modality, Background]:
        """Return, per query modality, how similar a query is to footage that has nothing to do with it."""
        measured = self.configuration["background"]
        return {
            "text": Background(**measured["text"]),
            "image": Background(**measured["image"]),
            "video": Background(**measured["video"]),
        }

    def confidences(self) -> dict[Modality, Confidence]:
        """Return, per query modality with labelled data, how sure a score makes one."""
        return {"text": Confidence(**self.configuration["confidence"]["text"])}


class LiteSceneText:
    """Sentences to the `scene` space; satisfies `TextEncoder`."""

    def __init__(self, stills: LiteTextEncoder, alan: LiteAlan) -> None:
        self._stills, self._alan = stills, alan

    @property
    def backbone(self) -> MiniLM:
        """The sentence network, which other spaces may share."""
        return self._stills.backbone

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dim) float32 of length one; the text decides how much motion counts."""
        return in_batches(self._encode, texts, self._alan.dim)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        import torch

        objects, sentences = self._stills.read(texts)
        return _rows(self._alan.model.texts(torch.from_numpy(objects), sentences))


class LiteScenePictures:
    """Pictures, of whose motion nothing is known, to the `scene` space; satisfies `PictureEncoder`."""

    size = (SIZE, SIZE)

    def __init__(self, stills: LitePictureEncoder, alan: LiteAlan) -> None:
        self._stills, self._alan = stills, alan

    def encode(self, pictures: Sequence[Picture]) -> Vectors:
        """Return (n, dim) float32 of length one for (224, 224, 3) uint8 RGB pictures; raises as `LitePictureEncoder`."""
        return in_batches(self._encode, pictures, self._alan.dim)

    def _encode(self, pictures: Sequence[Picture]) -> Vectors:
        import torch

        return _rows(self._alan.model.clips(torch.from_numpy(self._stills.encode(pictures))))


class LiteVideo(EachFrame):
    """Frames with what moves after them to the `scene` space; satisfies `VideoEncoder`."""

    size = (SIZE, SIZE)
    motion = SIDE
    scope = SCOPE

    def __init__(self, stills: LitePictureEncoder, alan: LiteAlan) -> None:
        self._stills, self._alan = stills, alan
        self._backbone = MotionBackbone()

    def encode(self, frames: Sequence[Frame]) -> Vectors:
        """Return clip vectors (n, dim) float32 of length one."""
        return in_batches(self._encode, frames, self._alan.dim)

    def _encode(self, frames: Sequence[Frame]) -> Vectors:
        import torch

        objects = self._stills.encode([frame.picture for frame in frames])
        moved = self._backbone.features([frame.motion for frame in frames if frame.motion is not None])
        return _rows(self._alan.model.clips(torch.from_numpy(objects), torch.from_numpy(moved)))

    def anomaly(self, clips: Vectors) -> NDArray[np.float32]:
        """Return (n,): the detector's scores, calibrated so that one half means as likely a fight as not."""
        import torch

        slope, offset = self._alan.configuration["calibration"]
        with torch.inference_mode():
            logits = torch.logit(self._alan.model.score_clips(*_one_video(clips))[0], eps=1e-6)
            return np.asarray(torch.sigmoid(slope * logits + offset).numpy(), np.float32)

    def whole(self, clips: Vectors, scores: NDArray[np.float32]) -> Vectors:
        """Return (dim,) of length one: ALAN's vector of the video, by fixed and anomaly-led sampling of its clips."""
        import torch

        with torch.inference_mode():
            return _rows(self._alan.model(*_one_video(clips), torch.from_numpy(scores)[None]).vectors[0])


def _one_video(clips: Vectors) -> tuple[Tensor, Tensor]:
    """Return a batch of one (1, n, dim), and its mask."""
    import torch

    return torch.from_numpy(clips)[None], torch.ones(1, len(clips), dtype=torch.bool)


def _rows(vectors: Tensor) -> Vectors:
    return np.asarray(vectors.numpy(), np.float32)
