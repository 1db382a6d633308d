"""A suite of colours and tones, with two spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tests import colors
from var_plugin.config import ModelOptions
from var_plugin.encoders.base import ScoreStatistics, Space, Vectors, l2_normalize
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.media.decoded import SAMPLE_RATE

DESCRIPTION = replace(
    colors.DESCRIPTION,
    name="tones",
    spaces={"scene": ("text", "image", "video"), "sound": ("text", "audio")},
    build="tests.tones:build",
)


class LowOrHigh:
    """The energy of a window below and above 1 kHz."""

    window = 1_600
    hop = 800

    def encode(self, windows: NDArray[np.float32]) -> Vectors:
        power = np.abs(np.fft.rfft(windows)) ** 2
        border = round(1_000 * self.window / SAMPLE_RATE)
        return l2_normalize(np.stack([power[:, :border].sum(1), power[:, border:].sum(1)], axis=1) + 1e-9)


class PitchNames:
    """The pitch that a text names, or both if it names none."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        named = [[float(pitch in text.split()) for pitch in ("low", "high")] for text in texts]
        return l2_normalize(np.array(named) + 1e-3)


def build(options: ModelOptions | None = None) -> dict[str, SpaceEncoders]:
    background = ScoreStatistics(0.7, 0.2)
    return {
        "scene": replace(colors.build()["scene"], text=colors.AnyWords()),
        "sound": SpaceEncoders(
            Space("sound", 2, "IP", frozenset({"text", "audio"}), "tones-1"),
            text=PitchNames(),
            audio=LowOrHigh(),
            score_statistics={"text": background, "audio": background},
        ),
    }


def tone_suite() -> Suite:
    return Suite(DESCRIPTION, build())


def sine(hertz: float, seconds: float, *, amplitude: float = 0.5, rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Return (samples,) of a sine."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
