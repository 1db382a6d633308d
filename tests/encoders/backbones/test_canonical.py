"""Vectors against the kept ones: here a library that changes them is found. The paper's are in test_alan_i3d."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.backbones import inputs, tiny
from tests.encoders.backbones.canonical import (
    FILE,
    LIBRARIES,
    differences,
    hub_vectors,
    kept,
    shipped_vectors,
    space_vectors,
)
from var_plugin.encoders.backbones import clip
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.hub import Checkpoint


def test_models_of_the_hub_make_the_kept_vectors(tmp_path: Path) -> None:
    found = hub_vectors(tmp_path)
    assert found.keys() == kept()["vectors"]["hub"].keys()
    assert not differences("hub", found)


def test_shipped_weights_make_the_kept_vectors() -> None:
    found = shipped_vectors()
    assert found.keys() == kept()["vectors"]["shipped"].keys()
    assert not differences("shipped", found)


def test_the_file_is_small_and_names_what_made_it() -> None:
    assert FILE.stat().st_size < 20_000
    assert set(kept()["made_with"]) == set(LIBRARIES)
    assert all(np.abs(rows).max() > 0 for group in kept()["vectors"].values() for rows in group.values())


def other_colours(folder: Path) -> None:
    """As when a library's mean of the colours changes."""
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.5, 0.5, 0.5]}))


def another_activation(folder: Path) -> None:
    """As when a library reads a configuration otherwise: CLIP's own GELU is an approximation."""
    file = folder / "config.json"
    file.write_text(file.read_text().replace("quick_gelu", "gelu"))


@pytest.mark.parametrize(
    ("change", "noticed"),
    [(other_colours, {"CLIP: image"}), (another_activation, {"CLIP: image", "CLIP: texts"})],
)
def test_other_preparation_or_another_layer_is_noticed(
    tmp_path: Path, change: Callable[[Path], None], noticed: set[str]
) -> None:
    folder = tiny.save_clip(tmp_path / "clip")
    change(folder)
    found = space_vectors("CLIP", clip.scene_space(Checkpoint(str(folder))))
    assert set(differences("hub", found)) == noticed


def test_other_pooling_is_noticed(tmp_path: Path) -> None:
    """The mean over the tokens of a text, where CLIP reads its end."""
    network = clip.ClipNetwork(Checkpoint(str(tiny.save_clip(tmp_path / "clip"))))
    states = network.model.text_model(**network.tokens(inputs.TEXTS)).last_hidden_state
    mean = network.model.text_projection(states.mean(dim=1))
    assert set(differences("hub", {"CLIP: texts": l2_normalize(mean.numpy(force=True))})) == {"CLIP: texts"}


def test_rounding_is_not_noticed() -> None:
    random = np.random.default_rng(0)
    for group, vectors in kept()["vectors"].items():
        exact = {name: np.array(rows) for name, rows in vectors.items()}
        rounded = {
            name: (rows + 1e-5 * np.abs(rows).max() * random.uniform(-1, 1, rows.shape)).astype(np.float32)
            for name, rows in exact.items()
        }
        assert not differences(group, rounded)
