"""The shipped sound weights hold what their card says, on folds that neither training nor any choice has seen."""

from __future__ import annotations

import pytest

from tests.data import data_folder
from var_plugin.encoders.weight_folder import LITE
from var_plugin.training.sound_measures import evaluate
from var_plugin.training.sounds import read_recordings, select

LEAST = {
    "esc10": {"text to audio": 0.92, "audio to audio": 0.84},
    "urbansound8k": {"text to audio": 0.53, "audio to audio": 0.57},
}


@pytest.mark.parametrize("collection", LEAST)
def test_the_shipped_weights_hold_their_figures(collection: str) -> None:
    found = evaluate(select(read_recordings(data_folder("audio").parent), part="test", collection=collection), LITE)
    for measure, least in LEAST[collection].items():
        assert found[measure]["value"] >= least, found
