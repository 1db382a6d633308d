"""An index: the videos at one location under one name, read through the active generation."""

from __future__ import annotations

import logging
import shlex
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from var_plugin.config import IndexOptions, ModelOptions
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import IndexUnavailableError, StoreError, UnknownSuiteError, VarPluginError
from var_plugin.index.calibration import Calibration
from var_plugin.index.catalog import Catalog, Entry, Generation, Generations
from var_plugin.index.footage import find_footage
from var_plugin.index.generation import VideoGeneration, check_fingerprint, collection_name
from var_plugin.index.milvus.client import Store
from var_plugin.index.milvus.options import is_local
from var_plugin.index.rows import Hit
from var_plugin.media.cache import media_cache
from var_plugin.media.thumbnails import cached_thumbnail

__all__ = ["Hit", "VideoIndex"]

logger = logging.getLogger(__name__)


class VideoIndex(VideoGeneration):
    """Videos, their segments and their vectors at one location under one name.

    Args:
        location: a path (Milvus Lite) or the URI of a Milvus server.
        suite: suite that embeds footage and queries. Default: the suite that built the index; for a new index, the
            option `suite`.
        token: `user:password` or an API key of the server.
        name: name of the index, if a server has several.
        options: how footage is cut, dated, searched and cached.
        models: where the models of a suite are, and how they run.
        create: create the index if it does not exist.
        to_reindex: open the index even if the suite that built it is missing or has changed. Only reindexing is
            possible then.

    Raises:
        IndexUnavailableError: the location cannot be opened, the index has the format of another version, or it does
            not exist and `create` is false.
        FingerprintMismatchError: another suite built the index.
    """

    def __init__(
        self,
        location: str | Path,
        suite: Suite | None = None,
        *,
        token: str = "",
        name: str = "footage",
        options: IndexOptions | None = None,
        models: ModelOptions | None = None,
        create: bool = True,
        to_reindex: bool = False,
    ) -> None:
        options = options or IndexOptions()
        store = Store(location, token=token)
        try:
            if not create:
                _check_exists(store, name)
            catalog = Catalog(store, name)
            generations = catalog.generations()
            if generations is None:
                _check_not_restoring(catalog, store.uri)
            suite = suite or _suite_of(generations, options.suite, models or ModelOptions())
            if generations is None:
                generations = Generations(current=_new_generation(1, suite))
                catalog.put_generations(generations)
            if to_reindex and suite.fingerprint != generations.current.fingerprint:
                suite = _MissingSuite(generations.current)
            check_fingerprint(generations.current, suite, store.uri)
            super().__init__(store, catalog, name, suite, generations.current, options)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close the index and release it to other processes."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def calibration(self) -> Calibration:
        """Similarity statistics of queries and unrelated footage."""
        return Calibration(self)

    @property
    def uri(self) -> str:
        """Path or URI of the index."""
        return self._store.uri

    def thumbnail(self, entry: Entry, time: float) -> Path | None:
        """Return a cached or new thumbnail of a video at `time` seconds, or None if no file of it can be read."""
        try:
            return cached_thumbnail(lambda: find_footage(entry), time, entry.video_id, media_cache(self.options))
        except (VarPluginError, OSError) as error:  # return the moment without a thumbnail
            logger.warning("no thumbnail: %s", error)
        return None

    def generations(self) -> Generations:
        """Return the active generation and the one that is being built or removed.

        Raises:
            StoreError: the row is missing in the catalog.
        """
        generations = self._catalog.generations()
        if generations is None:
            raise StoreError("the catalog has no active generation", fix="restore the index from a backup")
        return generations

    def begin_generation(self, suite: Suite) -> VideoGeneration:
        """Start to build a generation beside the active one, or continue an interrupted build.

        An interrupted build with another suite is removed.
        """
        self.refresh_generation()
        generations = self.generations()
        if generations.building and generations.building.fingerprint == suite.fingerprint:
            return self._other_generation(suite, generations.building)
        self.remove_inactive_generations()
        started = (generations.current, generations.building)
        highest = max(generation.number for generation in started if generation)
        building = _new_generation(highest + 1, suite)
        self._catalog.put_generations(Generations(current=generations.current, building=building))
        return self._other_generation(suite, building)

    def _other_generation(self, suite: Suite, generation: Generation) -> VideoGeneration:
        return VideoGeneration(self._store, self._catalog, self._name, suite, generation, self.options)

    def switch_to(self, built: VideoGeneration) -> None:
        """Make a generation the active one for all processes with one write, and switch to it."""
        self._catalog.put_generations(Generations(current=built.generation, previous=self.generation))
        self.suite = built.suite
        self._open(built.generation)

    def previous_entries(self) -> list[Entry]:
        """Return the catalog rows of a replaced generation that has not been removed."""
        previous = self.generations().previous
        return self._catalog.videos(previous.number).all() if previous else []

    def remove_inactive_generations(self) -> None:
        """Remove the generations that are not active."""
        generations = self.generations()
        for generation in (generations.building, generations.previous):
            if generation:
                # Collections first: a concurrent search fails instead of returning no results.
                for space in generation.spaces:
                    self._store.drop(collection_name(self._name, generation.number, space))
                self._catalog.videos(generation.number).remove_all()
        self._catalog.put_generations(Generations(current=generations.current))


class _MissingSuite(Suite):
    """Placeholder for the missing or changed suite that built a generation. It cannot encode."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self.encoders = {}

    @property
    def name(self) -> str:
        return self._generation.suite

    @property
    def fingerprint(self) -> str:
        return self._generation.fingerprint


def _check_exists(store: Store, name: str) -> None:
    if not Catalog.exists(store, name):
        raise IndexUnavailableError(
            f"there is no index at {store.uri}" if is_local(store.uri) else f"{store.uri} has no index '{name}'",
            fix=f"check the location, or create one: var-plugin index FOLDER --index {shlex.quote(store.uri)}, "
            "in Python open_index(…, create=True)",
        )


def _check_not_restoring(catalog: Catalog, uri: str) -> None:
    if catalog.is_restoring():
        raise IndexUnavailableError(
            f"the index at {uri} is incomplete",
            why="a restore has started and not finished",
            fix="wait until it finishes, or run it again: var-plugin restore",
        )


def _suite_of(generations: Generations | None, default: str, models: ModelOptions) -> Suite:
    """Return the suite that built the index if it is installed, else the default one.

    Queries and the API key are not sent to a server because an index names it: an index may come from others.
    """
    if generations:
        with suppress(UnknownSuiteError):
            return load_suite(generations.current.suite, models, allow_remote=False)
    return load_suite(default, models)


def _new_generation(number: int, suite: Suite) -> Generation:
    return Generation(number=number, suite=suite.name, fingerprint=suite.fingerprint, spaces=tuple(suite.spaces))
