from __future__ import annotations

import numpy as np
import pytest

from tests.tolerances import FLOAT32
from var_plugin.config import settings
from var_plugin.encoders import residual as towers
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.lite import build as lite_suite
from var_plugin.encoders.lite.events import EventHeads
from var_plugin.encoders.weights import LITE


def test_long_videos_are_scored_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = lite_suite.scene(LITE, settings().cache).video_encoder
    assert frames is not None
    vectors = l2_normalize(np.random.default_rng(0).normal(size=(500, 231)))
    logits = np.full((500, len(EventHeads().kinds)), 9.0, np.float32)  # all clips look like fights
    clips = np.hstack([vectors, logits])
    at_once = frames.score_events(clips)[:, 0]
    monkeypatch.setattr(towers, "_CHUNK", 64)
    in_parts = frames.score_events(clips)[:, 0]
    assert in_parts.shape == (500,)
    np.testing.assert_allclose(in_parts, at_once, atol=FLOAT32)
