from __future__ import annotations

import numpy as np
import pytest

from tests.colors import MeanColor
from tests.films import Film
from tests.ingest.test_add import scene
from var_plugin.encoders.base import unit
from var_plugin.encoders.video import Clips, StillsEncoder, embed_clips, pool


def test_clips_are_the_frames_looked_at(film: Film) -> None:
    reached: list[float] = []
    path = film(seconds=20, fps=10, paint=scene("red", "green", "blue"))
    clips = embed_clips(path, StillsEncoder(MeanColor()), rate=2, progress=reached.append)
    assert clips.times == pytest.approx(np.arange(40) / 2, abs=0.01)
    assert clips.vectors.argmax(axis=1).tolist() == [0] * 16 + [1] * 16 + [2] * 8
    assert clips.usable.all()
    assert clips.end == pytest.approx(20.0, abs=0.02)
    assert reached == [7.5, 15.5, 19.5]


def test_pooling_takes_a_span_and_falls_back_to_the_nearest_clip() -> None:
    clips = Clips(np.array([0.0, 1.0, 10.0]), unit(np.eye(3)), np.ones(3, bool), 12.0)
    pooled = pool(clips, [(0.0, 2.0), (2.0, 5.0), (5.0, 9.0), (9.0, 12.0)])
    assert pooled == pytest.approx(unit(np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], float)))
