"""The files of the `sound` space's weights: the tensors, how they were made, and what they have not learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file

from recipes.lite.yamnet import WIDTH as FEATURES
from var_plugin.encoders.lite.audio import LiteAudioWeights

if TYPE_CHECKING:
    from recipes.lite.lite_audio import Recipe, SoundModel

_WEIGHTS, _CONFIGURATION = "sound.safetensors", "sound.json"


def rounds_of(folder: Path) -> dict[str, int | None]:
    """Return the round whose folds the "network" has not learned from, and that of the "towers".

    None stands for what has learned from all folds, or does not say.
    """
    found: dict[str, int | None] = LiteAudioWeights(folder).configuration.get("folds", {})
    return {part: found.get(part) for part in ("network", "towers")}


def save(model: SoundModel, folder: Path, recipe: Recipe, rounds: Mapping[str, int | None]) -> None:
    """Write `sound.safetensors` and `sound.json`, in which `note` has still to tell what was measured.

    Args:
        model: what was trained.
        folder: where to.
        recipe: how.
        rounds: as `rounds_of` returns them.
    """
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / _WEIGHTS)
    configuration = {
        "dim": recipe.dim + 1,
        "network": {"widths": recipe.widths, "residuals": recipe.residuals, "features": FEATURES},
        "sound_tower": {"hidden": recipe.sound_hidden, "dim": recipe.dim},
        "sentence_tower": {"hidden": recipe.sentence_hidden, "dim": recipe.dim},
        "audio_input": "16 kHz mono float32 in -1…1; 64 mel bands, 125 to 7500 Hz; windows of 0.975 s every 0.48 s",
        "recipe": asdict(recipe),
        "folds": dict(rounds),
    }
    _write_configuration(folder, configuration)


def note(folder: Path, **measured: dict[str, dict[str, float]]) -> None:
    """Note the `background` of `measure_background` and the `confidence` of `fit_confidences`."""
    _write_configuration(folder, json.loads((folder / _CONFIGURATION).read_text()) | measured)


def _write_configuration(folder: Path, configuration: dict[str, object]) -> None:
    text = json.dumps(configuration, indent=2, ensure_ascii=False)
    (folder / _CONFIGURATION).write_text(text + "\n", encoding="utf-8")
