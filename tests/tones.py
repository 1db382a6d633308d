"""A suite of colours and tones: two spaces, so that a search has something to weigh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tests import colors
from tests.encoders.test_sound import LowOrHigh
from var_plugin.encoders.base import Background, Space, Vectors, unit
from var_plugin.encoders.suite import SpaceEncoders, Suite

DESCRIPTION = replace(
    colors.DESCRIPTION,
    name="tones",
    spaces={"scene": ("text", "image", "video"), "sound": ("text", "audio")},
    build="tests.tones:build",
)


class PitchNames:
    """The pitch that a text names, or both where it names none."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        named = [[float(pitch in text.split()) for pitch in ("low", "high")] for text in texts]
        return unit(np.array(named) + 1e-3)


def build() -> dict[str, SpaceEncoders]:
    background = Background(0.7, 0.2)
    return {
        "scene": replace(colors.build()["scene"], text=colors.AnyWords()),
        "sound": SpaceEncoders(
            Space("sound", 2, "IP", frozenset({"text", "audio"}), "tones-1"),
            text=PitchNames(),
            sound=LowOrHigh(),
            backgrounds={"text": background, "audio": background},
        ),
    }


def tone_suite() -> Suite:
    return Suite(DESCRIPTION, build())
