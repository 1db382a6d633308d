"""Assemble the lite suite: the encoders of each of its spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from var_plugin.config import ModelOptions
from var_plugin.encoders.backbones.motion import MotionBackbone
from var_plugin.encoders.base import Space
from var_plugin.encoders.lite import audio as lite_sound
from var_plugin.encoders.lite.audio import LiteAudioWeights
from var_plugin.encoders.lite.events import EventHeads
from var_plugin.encoders.lite.image_text import LiteImageEncoder, LiteTextEncoder, LiteWeights
from var_plugin.encoders.lite.scene import SceneImageEncoder, SceneTextEncoder, scene_dim
from var_plugin.encoders.lite.text_numpy import NumpyTextEncoder, SmallBatchTextEncoder
from var_plugin.encoders.lite.video import LiteAlan, LiteClipEncoder, LiteVideo
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import LITE

UNCOUNTED_KINDS = {
    "scene": frozenset((
        "fighting", "assault", "robbery", "theft", "burglary", "vandalism", "explosion", "person hit by vehicle",
        "fall", "person lying down", "shooting", "riot", "trespassing", "abandoned object", "flooding",
    )),
    "sound": frozenset((
        "fighting", "robbery", "burglary", "vandalism", "explosion", "traffic accident", "fall", "riot", "screaming",
        "flooding",
    )),
}  # fmt: skip
"""Kinds of the caption memory that do not raise the anomaly score: they are not above chance on held-out footage, or no
footage of them was available. `fighting` comes from the trained detector. See docs/benchmarks/events.md."""


def build(options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the encoders per space. Weights load on first use."""
    text = LiteTextEncoder()
    spaces = {"scene": scene(LITE, options.cache, text), "sound": lite_sound.build(lambda: text.backbone)}
    quick = NumpyTextEncoder(LiteWeights(), LiteAlan(), EventHeads(), LiteAudioWeights())
    return {
        name: replace(
            encoders,
            text=SmallBatchTextEncoder(getattr(quick, name), encoders.text) if encoders.text else None,
            uncounted_kinds=UNCOUNTED_KINDS[name],
        )
        for name, encoders in spaces.items()
    }


def scene(
    folder: Path, cache: Path, text: LiteTextEncoder | None = None, *, heads_folder: Path | None = None
) -> SpaceEncoders:
    """Return the encoders of the `scene` space.

    Args:
        folder: folder of the weights.
        cache: folder for derived files.
        text: text encoder to share.
        heads_folder: folder of the event heads, if it is another one.
    """
    alan, images = LiteAlan(folder), LiteImageEncoder(folder, cache)
    heads = EventHeads(heads_folder or folder, depends_on=alan.fingerprint)
    return SpaceEncoders(
        Space(
            name="scene",
            dim=scene_dim(alan, heads),
            metric="IP",
            modalities=frozenset(("text", "image", "video")),
            fingerprint=heads.fingerprint,
        ),
        text=SceneTextEncoder((text or LiteTextEncoder(folder)).read, alan, heads),
        image=SceneImageEncoder(images, alan, heads),
        video=LiteVideo(LiteClipEncoder(images, alan, heads, MotionBackbone(cache)), alan, heads),
        score_statistics=alan.score_statistics(),
        calibrators=alan.calibrators(),
    )
