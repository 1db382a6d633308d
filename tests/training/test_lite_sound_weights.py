"""The shipped sound weights hold what their card says, on folds that neither training nor any choice has seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from var_plugin.encoders.weight_folder import LITE
from var_plugin.training.sound_measures import evaluate
from var_plugin.training.sounds import read_recordings, select

DATA = Path(os.environ.get("VAR_PLUGIN_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))

LEAST = {
    "esc10": {"text to audio": 0.80, "audio to audio": 0.62},
    "urbansound8k": {"text to audio": 0.47, "audio to audio": 0.50},
}


@pytest.mark.skipif(not (DATA / "audio").is_dir(), reason="the sound collections are not here")
@pytest.mark.parametrize("collection", LEAST)
def test_the_shipped_weights_hold_their_figures(collection: str) -> None:
    found = evaluate(select(read_recordings(DATA), part="test", collection=collection), LITE)
    for measure, least in LEAST[collection].items():
        assert found[measure]["value"] >= least, found
