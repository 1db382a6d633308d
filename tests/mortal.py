"""The suite of colours and tones, in a process that is killed once in the middle of its work."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

from tests import colors, tones
from var_plugin.config import ModelOptions
from var_plugin.encoders.base import ImageArray, Vectors
from var_plugin.encoders.suite import SpaceEncoders

DESCRIPTION = replace(tones.DESCRIPTION, name="mortal", build="tests.mortal:build")
GRAVE = "GRAVE_OF_TEST"
"""Environment variable: a folder in which the one who died leaves a file of its own number."""


class MortalColor(colors.MeanColor):
    """Dies at its second call, unless one did so before."""

    calls = 0

    def encode(self, images: list[ImageArray]) -> Vectors:
        self.calls += 1
        grave = Path(os.environ[GRAVE])
        if self.calls == 2 and not any(grave.iterdir()):
            (grave / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(images)


def build(options: ModelOptions | None = None) -> dict[str, SpaceEncoders]:
    encoders = tones.build()
    return encoders | {"scene": replace(encoders["scene"], image=MortalColor())}
