"""Modules that adding a clip and searching enter.

The project aims at 35 and 25. Adding a clip enters ten more, each with a subject of its own:

- Anomalies: `encoders.anomaly`, `encoders.caption_memory`, `encoders.novelty`, `encoders.lite.events`, `index.history`,
  `index.examples` and `ingest.scoring`. Footage is scored by trained event heads, by sentences, by the history of its
  camera and by the examples of the owner. The aim is older than this.
- What an interrupted run left: `ingest.reindex` completes a reindex before footage is added, and asks `index.index`
  whether there is one.
- Ctrl-C: `ingest.signals` defers it while a video is written.
"""

from __future__ import annotations

from tests.walks import walks


def test_adding_a_clip_and_searching_enter_few_modules() -> None:
    counts = {name: len(modules) for name, modules in walks().items()}
    assert counts["add a clip of 16 s"] <= 45
    assert counts["search"] <= 20
