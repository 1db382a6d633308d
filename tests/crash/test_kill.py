"""SIGKILL at random moments of ingest, re-ingest, delete and re-indexing; `VAR_PLUGIN_KILLS` says how often."""

from __future__ import annotations

import logging
import os
import random
import time
from collections import Counter
from pathlib import Path

from tests.crash import life

KILLS = int(os.environ.get("VAR_PLUGIN_KILLS", "8"))
LONGEST_LIFE = 4.0


def test_an_index_survives_being_killed_anywhere(tmp_path: Path) -> None:
    world = life.World(tmp_path / "world")
    world.make()
    chance = random.Random(7)
    interrupted: Counter[str] = Counter()
    for kill in range(KILLS):
        process = life.start(world, seed=kill)
        before = len(world.events())
        while len(world.events()) == before and process.is_alive():
            time.sleep(0.005)
        time.sleep(chance.uniform(0, LONGEST_LIFE))
        assert process.is_alive(), "a life ends by being killed only"
        process.kill()
        process.join()
        last = world.events()[-1]
        interrupted[str(last.get("doing", "between"))] += 1
        with life.opened(world) as index:
            assert life.faults(world, index) == [], f"kill {kill}, seed {kill}, during {last}"
            assert life.resumed_faults(world, index) == [], f"kill {kill}, seed {kill}, during {last}"
    logging.getLogger(__name__).info("%d kills, in the midst of %s: no fault", KILLS, dict(interrupted))
