"""Compare vectors with the reference vectors, to detect libraries that change them. See also test_alan_i3d."""

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
    reference,
    shipped_vectors,
    space_vectors,
)
from var_plugin.encoders.backbones import clip
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.hub import Checkpoint


def test_hub_models_match_the_reference_vectors(tmp_path: Path) -> None:
    vectors = hub_vectors(tmp_path)
    assert vectors.keys() == reference()["vectors"]["hub"].keys()
    assert not differences("hub", vectors)


def test_shipped_weights_match_the_reference_vectors() -> None:
    vectors = shipped_vectors()
    assert vectors.keys() == reference()["vectors"]["shipped"].keys()
    assert not differences("shipped", vectors)


def test_reference_file_is_small_and_names_the_library_versions() -> None:
    assert FILE.stat().st_size < 20_000
    assert set(reference()["libraries"]) == set(LIBRARIES)
    assert all(np.abs(rows).max() > 0 for group in reference()["vectors"].values() for rows in group.values())


def other_colours(folder: Path) -> None:
    """Simulate a library with another mean of the colours."""
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.5, 0.5, 0.5]}))


def another_activation(folder: Path) -> None:
    """Simulate a library with another activation: the GELU of CLIP is an approximation."""
    file = folder / "config.json"
    file.write_text(file.read_text().replace("quick_gelu", "gelu"))


@pytest.mark.parametrize(
    ("change", "noticed"),
    [(other_colours, {"CLIP: image"}), (another_activation, {"CLIP: image", "CLIP: texts"})],
)
def test_changed_preprocessing_or_layer_is_detected(
    tmp_path: Path, change: Callable[[Path], None], noticed: set[str]
) -> None:
    folder = tiny.save_clip(tmp_path / "clip")
    change(folder)
    vectors = space_vectors("CLIP", clip.scene_space(Checkpoint(str(folder))))
    assert set(differences("hub", vectors)) == noticed


def test_changed_pooling_is_detected(tmp_path: Path) -> None:
    """Use the mean over the tokens instead of the last token."""
    network = clip.ClipNetwork(Checkpoint(str(tiny.save_clip(tmp_path / "clip"))))
    states = network.model.text_model(**network.tokens(inputs.TEXTS)).last_hidden_state
    mean = network.model.text_projection(states.mean(dim=1))
    assert set(differences("hub", {"CLIP: texts": l2_normalize(mean.numpy(force=True))})) == {"CLIP: texts"}


def test_rounding_is_tolerated() -> None:
    random = np.random.default_rng(0)
    for group, vectors in reference()["vectors"].items():
        exact = {name: np.array(rows) for name, rows in vectors.items()}
        rounded = {
            name: (rows + 1e-5 * np.abs(rows).max() * random.uniform(-1, 1, rows.shape)).astype(np.float32)
            for name, rows in exact.items()
        }
        assert not differences(group, rounded)
