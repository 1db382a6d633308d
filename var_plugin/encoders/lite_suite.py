"""The lite suite put together: which encoders reach which of its spaces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from var_plugin.encoders import lite_sound
from var_plugin.encoders.backbones.motion import MotionBackbone
from var_plugin.encoders.base import Space
from var_plugin.encoders.lite import LitePictureEncoder, LiteTextEncoder, LiteWeights
from var_plugin.encoders.lite_alan import LiteAlan, LiteVideo
from var_plugin.encoders.lite_quick import FewTexts, QuickTexts
from var_plugin.encoders.lite_sound import LiteSoundWeights
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.towers import MovingStills, TowerPictures, TowerText
from var_plugin.encoders.weight_folder import LITE


def build() -> dict[str, SpaceEncoders]:
    """Return the encoders per space; nothing is loaded before their first use."""
    text = LiteTextEncoder()
    spaces = {"scene": scene(LITE, text), "sound": lite_sound.build(lambda: text.backbone)}
    quick = QuickTexts(LiteWeights(), LiteAlan(), LiteSoundWeights())
    return {
        name: replace(encoders, text=FewTexts(getattr(quick, name), encoders.text)) if encoders.text else encoders
        for name, encoders in spaces.items()
    }


def scene(folder: Path, text: LiteTextEncoder | None = None) -> SpaceEncoders:
    """Return the encoders of the `scene` space from a folder of weights."""
    alan, pictures = LiteAlan(folder), LitePictureEncoder(folder)
    return SpaceEncoders(
        Space(
            name="scene",
            dim=alan.dim,
            metric="IP",
            modalities=frozenset(("text", "image", "video")),
            fingerprint=alan.fingerprint,
        ),
        text=TowerText((text or LiteTextEncoder(folder)).read, alan),
        picture=TowerPictures(pictures, alan),
        video=LiteVideo(MovingStills(pictures, alan, MotionBackbone()), alan),
        backgrounds=alan.backgrounds(),
        confidences=alan.confidences(),
    )
