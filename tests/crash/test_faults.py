"""A fault at each write to the store, in every operation: the index stays valid, and a retry succeeds."""

from __future__ import annotations

import itertools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash import life
from var_plugin.api import Index
from var_plugin.errors import StoreError
from var_plugin.index.milvus.client import Store

WRITES = ("ensure", "write", "flush", "delete", "drop")
Act = Callable[[life.World, Index], Any]


class Fault:
    """Fails the n-th write to the store: once, or from then on, as if the process ended."""

    def __init__(self, at: int, lasting: bool) -> None:
        self.at, self.lasting = at, lasting
        self.writes = 0

    def reached(self) -> bool:
        self.writes += 1
        return self.writes == self.at or (self.lasting and self.writes > self.at)


def inject(fault: Fault, patch: pytest.MonkeyPatch, step: str) -> None:
    real = getattr(Store, step)

    def write(self: Store, *arguments: Any, **more: Any) -> Any:
        if fault.reached():
            raise StoreError(f"a fault at write {fault.writes}, {step}")
        return real(self, *arguments, **more)

    patch.setattr(Store, step, write)


def add(world: life.World, index: Index) -> bool:
    return index.add(world.slot(1)).ok


def replace(world: life.World, index: Index) -> bool:
    world.note(slot=0, doing="re-ingest")
    shutil.copy(world.film(5), world.slot(0))
    return index.add(world.slot(0)).ok


def delete(world: life.World, index: Index) -> bool:
    life.remove(world, index, slot=0)
    return True


def reindex(world: life.World, index: Index) -> bool:
    return index.reindex(life.suite("second")).ok


def rescore(world: life.World, index: Index) -> bool:
    (video, *_) = index.videos()
    index.add_example("alarm", moment=f"{video.video_id}-0-5000")
    return life.outdated_scores(index) == []


def rewrite(world: life.World, index: Index) -> bool:
    return index.reindex(life.suite("first")).ok


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[life.World, Path]:
    """A world with one acknowledged video in the index and another one outside, and the folder of its copy."""
    folder = tmp_path_factory.mktemp("faults")
    world = life.World(folder / "world")
    world.make(contents=6)
    shutil.copy(world.film(1), world.slot(1))
    with life.open_index(world.database, suite=life.suite("first")) as index:
        life.put(world, index, slot=0, content=0)
    return world, Path(shutil.move(world.folder, folder / "start"))


@pytest.mark.parametrize(
    ("act", "lasting"),
    [
        (add, False), (add, True), (replace, False), (replace, True), (delete, False), (delete, True),
        (rescore, False), (rescore, True),
        *(pytest.param(act, often, marks=pytest.mark.slow) for act in (reindex, rewrite) for often in (False, True)),
    ],
)  # fmt: skip
def test_a_fault_at_any_write_leaves_a_valid_index(
    prepared: tuple[life.World, Path], monkeypatch: pytest.MonkeyPatch, act: Act, lasting: bool
) -> None:
    world, start = prepared
    for at in itertools.count(1):
        shutil.rmtree(world.folder, ignore_errors=True)
        shutil.copytree(start, world.folder)
        with life.opened(world) as index:
            fault = Fault(at, lasting)
            with monkeypatch.context() as patch:
                for step in WRITES:
                    inject(fault, patch, step)
                try:
                    is_done = act(world, index)
                except StoreError:
                    is_done = False
        with life.opened(world) as index:
            assert life.faults(world, index) == [], f"write {at}"
            if fault.writes < at:
                assert is_done
                break
            assert act(world, index), f"the next try after a fault at write {at}"
            assert index.verify().ok, f"write {at}"
            assert index._inner.generations().building is None
            assert index._inner.generations().previous is None
    assert at > 3
    logging.getLogger(__name__).info("%d faults in %s, none did harm", at - 1, act.__name__)
