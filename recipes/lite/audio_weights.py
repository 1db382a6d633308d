"""Write and read the weight files of the `sound` space, and which folds the weights were not trained on."""

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
    from recipes.lite.lite_audio import AudioModel, Recipe

_WEIGHTS, _CONFIGURATION = "sound.safetensors", "sound.json"
_FOLD_IDS = "folds"
"""Key in `sound.json`."""


def held_out_folds(folder: Path) -> dict[str, int | None]:
    """Return the id of the folds that the "network" was not trained on, and the same for the "towers".

    None means that all folds were used or that the weights do not say.
    """
    fold_ids: dict[str, int | None] = LiteAudioWeights(folder).configuration.get(_FOLD_IDS, {})
    return {part: fold_ids.get(part) for part in ("network", "towers")}


def save(model: AudioModel, folder: Path, recipe: Recipe, fold_ids: Mapping[str, int | None]) -> None:
    """Write `sound.safetensors` and `sound.json`; add the measured statistics afterwards with `update_configuration`.

    Args:
        model: the trained model.
        folder: where to write the files.
        recipe: the hyperparameters, stored in `sound.json`.
        fold_ids: the held-out folds, as `held_out_folds` returns them.
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
        _FOLD_IDS: dict(fold_ids),
    }
    _write_configuration(folder, configuration)


def update_configuration(folder: Path, **values: dict[str, dict[str, float]]) -> None:
    """Add the measured `score_statistics` and the fitted `calibrators` to `sound.json`."""
    _write_configuration(folder, json.loads((folder / _CONFIGURATION).read_text()) | values)


def _write_configuration(folder: Path, configuration: dict[str, object]) -> None:
    text = json.dumps(configuration, indent=2, ensure_ascii=False)
    (folder / _CONFIGURATION).write_text(text + "\n", encoding="utf-8")
