"""An index: videos at one location under one name, seen through the generation that counts."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from var_plugin.config import settings
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import IndexUnavailableError, StoreError, UnknownSuiteError, VarPluginError
from var_plugin.index.calibration import Calibration
from var_plugin.index.catalog import Catalog, Entry, Generation, Generations
from var_plugin.index.footage import find_footage
from var_plugin.index.generation import VideoGeneration, check_fingerprint, collection_name
from var_plugin.index.milvus.client import Store
from var_plugin.index.rows import Hit
from var_plugin.media.cache import media_cache
from var_plugin.media.clips import cached_thumbnail
from var_plugin.types import Video

__all__ = ["Hit", "VideoIndex"]

logger = logging.getLogger(__name__)


class VideoIndex(VideoGeneration):
    """Videos, their segments and their vectors, at one location under one name.

    Args:
        location: a path (Milvus Lite) or the URI of a Milvus server.
        suite: what embeds footage and queries; None: the suite that made the index, for a new one the setting `suite`.
        token: what the server asks for.
        name: tells several indexes of one server apart.
        to_reindex: open it also where the suite that made it is not installed any more, or only in another version;
            nothing but making it anew is possible then.

    Raises:
        IndexUnavailableError: the location cannot be opened.
        FingerprintMismatchError: another suite made the index.
    """

    def __init__(
        self,
        location: str | Path,
        suite: Suite | None = None,
        *,
        token: str = "",
        name: str = "footage",
        to_reindex: bool = False,
    ) -> None:
        store = Store(location, token=token)
        try:
            catalog = Catalog(store, name)
            generations = catalog.generations()
            if generations is None:
                _check_not_restoring(catalog, store.uri)
            suite = suite or _maker(generations)
            if generations is None:
                generations = Generations(current=_generation(1, suite))
                catalog.put_generations(generations)
            if to_reindex and suite.fingerprint != generations.current.fingerprint:
                suite = _AbsentSuite(generations.current)
            check_fingerprint(generations.current, suite, store.uri)
            super().__init__(store, catalog, name, suite, generations.current)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Give the index free for other processes."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def calibration(self) -> Calibration:
        """How similar queries are to footage that has nothing to do with them."""
        return Calibration(self)

    @property
    def uri(self) -> str:
        """Where the index lies."""
        return self._store.uri

    def videos(self) -> list[Video]:
        """Return all videos in order of addition; `state` tells the ones that an interrupted run left behind."""
        return [entry.video() for entry in self.all_entries()]

    def thumbnail(self, entry: Entry, time: float) -> Path | None:
        """Return an image of the video at `time` seconds, made now if need be; None when no file of it can be read."""
        try:
            return cached_thumbnail(lambda: find_footage(entry), time, entry.video_id, media_cache())
        except (VarPluginError, OSError) as error:  # a moment without a thumbnail is better than none
            logger.warning("no thumbnail: %s", error)
        return None

    def generations(self) -> Generations:
        """Return which generation counts, and which one is being built or given up.

        Raises:
            StoreError: the catalogue lost that row.
        """
        found = self._catalog.generations()
        if found is None:
            raise StoreError("the catalogue does not say which generation counts", fix="restore the index")
        return found

    def begin_generation(self, suite: Suite) -> VideoGeneration:
        """Return a generation that is built beside the one that counts; one that was begun already goes on.

        A generation that was begun with another suite is given up.
        """
        self.refresh_generation()
        known = self.generations()
        if known.building and known.building.fingerprint == suite.fingerprint:
            return VideoGeneration(self._store, self._catalog, self._name, suite, known.building)
        self.remove_inactive_generations()
        highest = max(generation.number for generation in (known.current, known.building) if generation)
        building = _generation(highest + 1, suite)
        self._catalog.put_generations(Generations(current=known.current, building=building))
        return VideoGeneration(self._store, self._catalog, self._name, suite, building)

    def switch_to(self, built: VideoGeneration) -> None:
        """Make a generation count, for all processes with one write, and see the index through it from now on."""
        self._catalog.put_generations(Generations(current=built.generation, previous=self.generation))
        self.suite = built.suite
        self._open(built.generation)

    def previous_entries(self) -> list[Entry]:
        """Return the catalogue rows of the generation that was replaced and not removed yet."""
        previous = self.generations().previous
        return self._catalog.videos(previous.number).all() if previous else []

    def remove_inactive_generations(self) -> None:
        """Remove the generations that do not count."""
        known = self.generations()
        for generation in (known.building, known.previous):
            if generation:
                # The collections first: whoever still searches them gets an error, not an empty answer.
                for space in generation.spaces:
                    self._store.drop(collection_name(self._name, generation.number, space))
                self._catalog.videos(generation.number).remove_all()
        self._catalog.put_generations(Generations(current=known.current))


class _AbsentSuite(Suite):
    """Stands for the suite that made a generation and is not there any more: it encodes nothing."""

    def __init__(self, generation: Generation) -> None:
        self._made = generation
        self.encoders = {}

    @property
    def name(self) -> str:
        return self._made.suite

    @property
    def fingerprint(self) -> str:
        return self._made.fingerprint


def _check_not_restoring(catalog: Catalog, uri: str) -> None:
    if catalog.is_restoring():
        raise IndexUnavailableError(
            f"the index at {uri} is not whole",
            why="a restore began there and has not ended",
            fix="wait until it has ended, or run it again: var-plugin restore",
        )


def _maker(generations: Generations | None) -> Suite:
    """Return the suite that made the index, where there is one of that name; else the one of the settings."""
    if generations:
        with suppress(UnknownSuiteError):
            return load_suite(generations.current.suite)
    return load_suite(settings().suite)


def _generation(number: int, suite: Suite) -> Generation:
    return Generation(number=number, suite=suite.name, fingerprint=suite.fingerprint, spaces=tuple(suite.spaces))
