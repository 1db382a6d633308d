"""The suite lite with other event heads, such as those of `python -m recipes.lite.events --half validation`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from var_plugin.config import settings
from var_plugin.encoders.lite.build import scene
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.encoders.weights import LITE

HELP = "folder of event heads that were not trained on the measured half"


def lite_with_heads(folder: Path | None) -> Suite:
    """Return the suite lite, with the event heads of a folder if one is given."""
    lite = load_suite("lite")
    if folder is None:
        return lite
    encoders = scene(LITE, settings().cache, heads_folder=folder)
    encoders = replace(encoders, uncounted_kinds=lite.encoders["scene"].uncounted_kinds)
    description = replace(lite.description, revision=f"heads {encoders.space.fingerprint}")
    return Suite(description, lite.encoders | {"scene": encoders}, fps=lite.fps, cache=lite.cache)
