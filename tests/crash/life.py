"""Random operations on an index that can be killed at any time: add, replace, delete, change the suite, score again.

It notes in a log what it is about to do and what was acknowledged. Both are single writes to a file, which a kill of
the process cannot take back.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from tests.colors import DESCRIPTION, build
from tests.films import Film, textured
from var_plugin.api import Index, open_index
from var_plugin.encoders.suite import Suite
from var_plugin.errors import DecodingTimeoutError, FingerprintMismatchError
from var_plugin.index.examples import ExampleKind
from var_plugin.index.verify import Problem
from var_plugin.ingest import scoring
from var_plugin.types import Filter, Receipt

SUITES = ("first", "second")
EXAMPLE_KINDS: tuple[ExampleKind, ...] = ("normal", "alarm")
SECONDS = {"ingest": 1.0, "re-ingest": 1.0, "delete": 0.6, "reindex": 4.0, "rescore": 0.6}
"""The acts, and about how long each takes on a busy machine."""
_SLOTS = 3
_CONTENTS = 8


@dataclass(frozen=True)
class World:
    """A folder with an index, small videos, and the slots into which they are copied."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "index.db"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    def slot(self, number: int) -> Path:
        return self.folder / f"camera{number}.mp4"

    def film(self, content: int) -> Path:
        return self.folder / "films" / f"{content}.mp4"

    def make(self, contents: int = _CONTENTS) -> None:
        for content in range(contents):
            Film(self.folder / "films")(
                f"{content}.mp4", seconds=20, fps=2, paint=lambda time, seed=content: textured(seed + int(time), 16, 16)
            )

    def note(self, **event: object) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, (json.dumps(event) + "\n").encode())
        os.close(descriptor)

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


def opened(world: World) -> Index:
    """Open the index with the suite that built it."""
    for name in SUITES:
        try:
            return open_index(world.database, suite=suite(name))
        except FingerprintMismatchError:
            continue
    raise AssertionError("neither suite made the index")


def suite(name: str) -> Suite:
    """The suite of colours with two spaces, so that kills happen between them, too."""
    (scene,) = build(fingerprint=name).values()
    tint = replace(scene, space=replace(scene.space, name="tint"))
    return Suite(DESCRIPTION, {"scene": scene, "tint": tint})


def live(world: World, seed: int, first: str) -> None:
    """Run one operation, then random adds, replacements, deletions, reindexes and rescores until killed."""
    chance = random.Random(seed)
    index = opened(world)
    begin(world, index, first, chance)
    while True:
        act = chance.choice(("add", "add", "add", "delete", "reindex", "rescore"))
        slot = chance.randrange(_SLOTS)
        if act == "add":
            put(world, index, slot, content=chance.randrange(_CONTENTS))
        elif act == "delete":
            remove(world, index, slot)
        elif act == "rescore":
            rescore(world, index, chance.choice(EXAMPLE_KINDS))
        else:
            reindex(world, index, chance.choice(SUITES))


def begin(world: World, index: Index, act: str, chance: random.Random) -> None:
    """Run an operation in a slot. Prepare the slot first if necessary."""
    if act == "reindex":
        reindex(world, index, chance.choice(SUITES))
        return
    if act == "rescore":
        put(world, index, 0, content=chance.randrange(_CONTENTS))
        rescore(world, index, chance.choice(EXAMPLE_KINDS))
        return
    filled = act != "ingest"
    ready = [slot for slot in range(_SLOTS) if world.slot(slot).exists() == filled]
    slot = chance.choice(ready or range(_SLOTS))
    if not ready and filled:
        put(world, index, slot, content=chance.randrange(_CONTENTS))
    if act == "delete" or not (ready or filled):
        remove(world, index, slot)
    if act != "delete":
        put(world, index, slot, content=chance.randrange(_CONTENTS))


def put(world: World, index: Index, slot: int, content: int) -> None:
    """Write a video to a slot and add it: a new, an unchanged or a replaced video."""
    act = "re-ingest" if world.slot(slot).exists() else "ingest"
    world.note(slot=slot, doing=act, content=content)
    partial = world.slot(slot).with_suffix(".partial")
    # Its own bytes in each slot, so that no two slots share a video.
    partial.write_bytes(world.film(content).read_bytes() + f"slot {slot}".encode())
    partial.replace(world.slot(slot))
    unless_busy(lambda: index.add(world.slot(slot)))
    world.note(slot=slot, done=act, content=content)


def remove(world: World, index: Index, slot: int) -> None:
    """Delete the video of a slot from the index and the folder."""
    world.note(slot=slot, doing="delete")
    for video in index.videos():
        if video.uri == str(world.slot(slot)):
            index.delete(video.video_id)
    world.slot(slot).unlink(missing_ok=True)
    world.note(slot=slot, done="delete")


def reindex(world: World, index: Index, name: str) -> None:
    world.note(doing="reindex", suite=name)
    unless_busy(lambda: index.reindex(suite(name)))
    world.note(done="reindex", suite=name)


def rescore(world: World, index: Index, kind: ExampleKind) -> None:
    """Replace the owner's example by the start of a video, and score all rows again."""
    world.note(doing="rescore", kind=kind)
    for example in index.examples():
        index.remove_example(example.id, rescore=False)
    video = next((video for video in index.videos() if video.state == "committed"), None)
    if video:
        index.add_example(kind, moment=f"{video.video_id}-0-5000", rescore=False)
    index.rescore()
    world.note(done="rescore")


def outdated_scores(index: Index) -> list[str]:
    """Return the videos whose rows differ from a new score with the current examples."""
    inner = index._inner
    entries = [entry for entry in inner.all_entries() if entry.state == "committed"]
    changed = scoring._rescored_rows(inner, inner.pinned_reader(), entries, inner.owner_examples.all())
    return [video_id for rows in changed.values() for video_id, outdated in rows.items() if outdated]


def unless_busy(act: Callable[[], Receipt]) -> None:
    """Run an operation. Repeat it if decoding timed out on a busy machine."""
    receipt = act()
    while any(video.error == DecodingTimeoutError.__name__ for video in receipt.videos):
        receipt = act()
    assert receipt.ok, receipt


def acknowledged(world: World) -> dict[int, bool]:
    """Return whether a slot contains footage, for each slot whose last operation was acknowledged."""
    state: dict[int, bool | None] = {}
    for event in world.events():
        if "slot" in event:
            state[int(str(event["slot"]))] = None if "doing" in event else event["done"] != "delete"
    return {slot: holds for slot, holds in state.items() if holds is not None}


def faults(world: World, index: Index) -> list[str]:
    """Return the problems of a killed index before any operation is resumed."""
    problems: list[str] = []
    checked = index.verify()
    # Rows and rows' catalogue entries of an interrupted act may be there, as long as nobody finds them.
    problems.extend(f"damaged: {problem}" for problem in checked.problems if problem.kind != "unfinished")
    committed = {video.video_id: video for video in index.videos() if video.state == "committed"}
    for space in index.suite.spaces:
        visible = {
            hit.video_id for hit in index._inner.search_segments(space, np.ones(3), limit=10_000, filter=Filter())
        }
        problems.extend(f"half a video is visible: {video_id}" for video_id in visible - set(committed))
        problems.extend(
            f"a committed video is not found in {space}: {video_id}" for video_id in set(committed) - visible
        )
    uris = [video.uri for video in committed.values()]
    for slot, holds in acknowledged(world).items():
        if uris.count(str(world.slot(slot))) != int(holds):
            problems.append(f"slot {slot}: {uris.count(str(world.slot(slot)))} videos, acknowledged {int(holds)}")
    return problems


def resumed_faults(world: World, index: Index) -> list[str]:
    """Repeat the interrupted operation, as a user would. Return the remaining problems."""
    last = world.events()[-1]
    if last.get("doing") in ("ingest", "re-ingest"):
        put(world, index, int(str(last["slot"])), int(str(last["content"])))
    elif last.get("doing") == "delete":
        remove(world, index, int(str(last["slot"])))
    elif last.get("doing") == "reindex":
        reindex(world, index, str(last["suite"]))
    elif last.get("doing") == "rescore":
        rescore(world, index, "alarm" if last["kind"] == "alarm" else "normal")
    index.rescore()
    problems: tuple[Problem, ...] = index.verify().problems
    films = {str(world.slot(slot)) for slot in range(_SLOTS) if world.slot(slot).exists()}
    uris = sorted(video.uri for video in index.videos())
    wrong = [] if uris == sorted(films) else [f"the index holds {uris}, the folder {sorted(films)}"]
    wrong += [f"the scores of {video_id} are outdated" for video_id in outdated_scores(index)]
    return wrong + [f"after resuming: {problem}" for problem in problems]


def start(world: World, seed: int, first: str) -> BaseProcess:
    """Start the operations in a forked process. A fork server does all imports once."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=live, args=(world, seed, first), daemon=True)
    process.start()
    return process
