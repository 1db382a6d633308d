"""SIGKILL at random moments of ingest, re-ingest, delete, re-indexing and rescoring.

`VAR_PLUGIN_KILLS` sets the number of kills, `VAR_PLUGIN_KILLS_SEED` their times, so a long run can be split.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import time
from collections import Counter
from pathlib import Path

from tests.crash import life

KILLS = int(os.environ.get("VAR_PLUGIN_KILLS", "10"))
SEED = int(os.environ.get("VAR_PLUGIN_KILLS_SEED", "7"))


def test_an_index_is_valid_after_a_kill_at_any_point(tmp_path: Path) -> None:
    world = life.World(tmp_path / "world")
    world.make()
    chance = random.Random(SEED)
    acts = itertools.cycle(life.SECONDS)
    interrupted: Counter[str] = Counter()
    for kill in range(KILLS):
        killed_during = kill_during(world, next(acts), seed=1000 * SEED + kill, chance=chance)
        interrupted[killed_during] += 1
        with life.opened(world) as index:
            assert life.faults(world, index) == [], f"kill {kill}, {killed_during}"
            assert life.resumed_faults(world, index) == [], f"kill {kill}, {killed_during}"
    logging.getLogger(__name__).info("%d kills, in the midst of %s: no fault", KILLS, dict(interrupted))


def kill_during(world: life.World, act: str, seed: int, chance: random.Random) -> str:
    """Kill the process a random time after it started an operation. Return the operation in progress."""
    process = life.start(world, seed, act)
    before = len(world.events())
    while not any(event.get("doing") == act for event in world.events()[before:]):
        assert process.is_alive(), "a life ends by being killed only"
        time.sleep(0.005)
    time.sleep(chance.uniform(0, life.SECONDS[act]))
    process.kill()
    process.join()
    return str(world.events()[-1].get("doing", "nothing"))
