"""The shipped sound weights know what they have learned from; on anything else they cannot be measured here.

So only weights, or code around them, that do not fit together any more show here. What they are worth is in their card.
"""

from __future__ import annotations

import pytest

from recipes.lite.audio_eval import evaluate
from recipes.lite.audio_sources import read_recordings, select
from tests.data import data_folder
from var_plugin.encoders.weights import LITE

LEAST = {
    "esc10": {"text to audio": 0.93, "audio to audio": 0.88},
    "urbansound8k": {"text to audio": 0.76, "audio to audio": 0.63},
}


@pytest.mark.parametrize("collection", LEAST)
def test_what_was_learned_is_known(collection: str) -> None:
    """On one fold of each collection."""
    recordings = select(read_recordings(data_folder("audio").parent), part="test", collection=collection)
    found = evaluate([(recordings, LITE)])
    for measure, least in LEAST[collection].items():
        assert found[measure]["value"] >= least, found
