"""A suite of colours: tiny encoders that index real videos and search them by text or image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from var_plugin.config import ModelOptions
from var_plugin.encoders.base import ImageArray, ScoreStatistics, Space, TextEncoder, Vectors, l2_normalize
from var_plugin.encoders.caption_memory import read_captions
from var_plugin.encoders.clip_features import ImageVideoEncoder
from var_plugin.encoders.suite import SpaceEncoders, Suite, SuiteDescription

UNCOUNTED = frozenset(read_captions("scene")[1])
"""Sentences about events say nothing about colours: the anomaly score of this suite is the novelty."""
NAMES = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1), "yellow": (1, 1, 0)}

DESCRIPTION = SuiteDescription(
    name="colors",
    summary="knows colours by name",
    spaces={"scene": ("text", "image", "video")},
    code_licence="Apache-2.0",
    weights_licence="none",
    revision="1",
    megabytes=0,
    languages=("en",),
    needs_network=False,
    build="tests.colors:build",
)


class ColorNames:
    """The mean of the colours named in a text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return l2_normalize(
            np.array([np.sum([(0, 0, 0), *(NAMES[w] for w in text.split() if w in NAMES)], axis=0) for text in texts])
        )


class AnyWords(ColorNames):
    """Returns white for a text without a colour name, for conformance suites with arbitrary texts."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode([text if set(text.split()) & NAMES.keys() else "white" for text in texts])


class MeanColor:
    """The mean colour of an image."""

    size = (8, 8)

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        return l2_normalize(np.stack([image.mean(axis=(0, 1)) + 1e-3 for image in images]))


def build(options: ModelOptions | None = None, fingerprint: str = "colors-1") -> dict[str, SpaceEncoders]:
    space = Space("scene", 3, "IP", frozenset({"text", "image", "video"}), fingerprint)
    return {
        "scene": SpaceEncoders(
            space,
            text=ColorNames(),
            image=MeanColor(),
            score_statistics={"text": ScoreStatistics(0.5, 0.2), "image": ScoreStatistics(0.5, 0.2)},
            uncounted_kinds=UNCOUNTED,
        )
    }


def color_suite(fingerprint: str = "colors-1") -> Suite:
    return Suite(DESCRIPTION, build(fingerprint=fingerprint))


class Detector(ImageVideoEncoder):
    """Knows some kinds of events by name."""

    event_kinds = ("fire", "smoke", "fighting", "traffic accident")

    def score_events(self, clips: Vectors) -> Vectors:
        return np.zeros((len(clips), len(self.event_kinds)), np.float32)


def detector_suite() -> Suite:
    """Return the suite of colours with kinds of events, which no clip has."""
    encoders = build()["scene"]
    if encoders.image is None:
        raise TypeError("the suite of colours has no image encoder")
    return Suite(DESCRIPTION, {"scene": replace(encoders, video=Detector(encoders.image))})


def suite_with(words: TextEncoder) -> Suite:
    """Return the suite of colours with another text encoder."""
    scene = build()["scene"]
    encoders = SpaceEncoders(scene.space, text=words, image=scene.image, uncounted_kinds=UNCOUNTED)
    return Suite(DESCRIPTION, {"scene": encoders})


def install_colors(site: Path) -> Path:
    """Write the metadata of a package that adds the suite `colors`. Return the folder for the import path."""
    package = site / "colors-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: colors\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[var_plugin.suites]\ncolors = tests.colors:DESCRIPTION\n")
    return site
