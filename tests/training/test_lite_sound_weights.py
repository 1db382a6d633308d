"""The shipped audio weights recognise their training data, which is the only audio data of the tests.

This detects weights and code that do not fit together. The quality of the weights is in their model card.
"""

from __future__ import annotations

import pytest

from recipes.lite.audio_eval import evaluate
from recipes.lite.audio_sources import read_recordings, select
from tests.data import data_folder
from var_plugin.encoders.weights import LITE

MIN_VALUES = {
    "esc10": {"text to audio": 0.93, "audio to audio": 0.88},
    "urbansound8k": {"text to audio": 0.76, "audio to audio": 0.63},
}


@pytest.mark.parametrize("collection", MIN_VALUES)
def test_training_data_is_recognised(collection: str) -> None:
    """Evaluate one fold of each collection."""
    recordings = select(read_recordings(data_folder("audio").parent), part="test", collection=collection)
    results = evaluate([(recordings, LITE)])
    for measure, minimum in MIN_VALUES[collection].items():
        assert results[measure]["value"] >= minimum, results
