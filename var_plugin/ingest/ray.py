"""Add files with a Ray cluster: tasks decode, actors embed, the calling process writes.

    files -> decode (one task and one core per file) -> embed (actors, one GPU each if there are any) -> caller -> index

Ray Data streams the rows and applies backpressure, so memory holds a few batches of frames however long the footage
is. The calling process joins the vectors of each file, builds segments and writes them as `LocalEngine` does. Ray
repeats the task of a worker that dies.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import IndexOptions, environment, require
from var_plugin.encoders.audio_features import (
    AudioBatch,
    AudioFeatures,
    EncodedAudio,
    Windows,
    concat_audio,
    encode_audio_batches,
)
from var_plugin.encoders.clip_features import (
    FRAMES_PER_BATCH,
    ClipBatch,
    ClipBatches,
    ClipFeatures,
    EncodedBatch,
    SamplingSpec,
    concat_batches,
    encode_batches,
)
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    EngineError,
    FingerprintMismatchError,
    NoAudioStreamError,
    VarPluginError,
)
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.embed import (
    AUDIO_ERRORS,
    Rows,
    StreamPlan,
    VideoEmbeddings,
    audio_warning,
    build_audio_rows,
    embed,
    receipt_warnings,
)
from var_plugin.ingest.pipeline import (
    FileFingerprint,
    OnResult,
    Progress,
    VideoSource,
    attempt,
    failure,
    is_up_to_date,
    prepare,
    settings_fingerprint,
)
from var_plugin.ingest.ray_cluster import cluster_resources, connected_cluster
from var_plugin.media.sandbox.client import decode_audio
from var_plugin.types import VideoReceipt

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 16 * 2**20
"""Bytes of frames that a task collects before it sends them: a few batches."""
_MAX_TASKS = 10_000
_GPU_FRAMES = 64
"""Frames per batch for a GPU. Measured: 1.5 times the throughput of 16 frames."""
_ROWS_PER_CALL = 16
"""Rows that Ray passes to one call of an actor."""


class RayEngine:
    """An `Engine` that spreads decoding and embedding over a Ray cluster.

    Args:
        address: Address of a running cluster. `auto` is that of RAY_ADDRESS, or the one that this user or root started
            on this machine. None: the cluster that this process is connected to, otherwise a temporary one on this
            machine that listens on the loopback interface only.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, address: str | None = None) -> None:
        require("ray", "ray")
        self._address = address

    def add(
        self,
        index: VideoIndex,
        plan: Iterable[VideoSource | VideoReceipt],
        progress: Progress | None,
        on_result: OnResult,
    ) -> None:
        """Call `on_result(position, receipt)` for each file when it is done. Files of the same content are stored once.

        Raises:
            EngineError: There is no such cluster, or it has fewer than two cores.
            FingerprintMismatchError, UnknownSuiteError: The index's suite cannot be loaded by its name.
        """
        suite = index.suite
        load_matching_suite(suite.name, suite.fingerprint)
        files: dict[int, VideoSource] = {}
        for number, item in enumerate(plan):
            if isinstance(item, VideoReceipt):
                on_result(number, item)
            else:
                files[number] = item
        if not files:
            return
        streams = StreamPlan(suite)
        fingerprint = settings_fingerprint(suite, index.options)
        stored = frozenset(entry.video_id for entry in index.all_entries() if is_up_to_date(entry, fingerprint))
        with connected_cluster(self._address):
            cores, gpus = cluster_resources()
            batch_frames = _GPU_FRAMES if gpus else FRAMES_PER_BATCH
            decoder = Decoder(
                [SamplingSpec.of(extractor, suite.fps, batch_frames) for extractor in streams.extractors],
                {space: (encoder.window, encoder.hop) for space, encoder in streams.audio_encoders.items()},
                stored,
            )
            rows = _rows(files, decoder, suite, cores, gpus)
            store_files(index, files, streams, rows, on_result, progress)


def _rows(files: Mapping[int, VideoSource], decoder: Decoder, suite: Suite, cores: int, gpus: int) -> Iterator[Row]:
    """Run the pipeline. Yield its rows in any order."""
    import ray.data
    import ray.exceptions

    pool = ray.data.ActorPoolStrategy(size=gpus) if gpus else ray.data.ActorPoolStrategy(min_size=1, max_size=cores - 1)
    runtime_env = {"env_vars": environment()}  # workers of other machines have another environment
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    jobs = [Row(number=n, item=replace(source, path=source.path.absolute())) for n, source in files.items()]
    rows = ray.data.from_items(jobs, override_num_blocks=min(len(jobs), _MAX_TASKS))
    rows.context.target_max_block_size = _BLOCK_BYTES
    rows.context.max_errored_blocks = -1  # an unexpected error fails its file, not the run
    rows.context.enable_progress_bars = rows.context.print_on_execution_start = False
    # With a limit of its own for the tasks, Ray does not fuse both steps into the actors.
    decoded = rows.flat_map(decoder, compute=ray.data.TaskPoolStrategy(size=cores), num_cpus=1, runtime_env=runtime_env)
    embedded = decoded.map_batches(
        Embedder,
        batch_size=_ROWS_PER_CALL,
        batch_format="numpy",
        fn_constructor_args=(suite.name, suite.fingerprint),
        compute=pool,
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
        runtime_env=runtime_env,
    )
    try:
        yield from embedded.iter_rows()
    except ray.exceptions.RayError as error:
        raise EngineError("the Ray cluster failed", why=str(error), fix="look at the logs of the cluster") from error


_MAX_FRAMES = 64
"""Maximum number of frames or audio windows per call of a network."""

BatchKey = tuple[int | str, int]
"""Stream of a batch (number of its extractor, or name of its audio space), and its number in the stream."""

Columns = dict[str, NDArray[Any]]
"""Several rows by column, as Ray passes them."""


@dataclass(frozen=True)
class DecodedBatch:
    """A decoded batch of frames or audio on its way to an actor."""

    key: BatchKey
    batch: ClipBatch | AudioBatch
    seconds: float
    """Decoding time."""


@dataclass(frozen=True)
class EmbeddedBatch:
    """The vectors of a batch."""

    key: BatchKey
    batch: EncodedBatch | EncodedAudio
    seconds: float
    """Decoding and embedding time."""


@dataclass(frozen=True)
class EndOfFile:
    """Marks that all batches of a file were sent."""

    batches: int
    """Number of batches; 0 if the index holds the content already."""
    video_ends: Sequence[float] = ()
    """End of the last frame per clip feature extractor, in seconds."""
    audio_samples: Mapping[str, int] = field(default_factory=dict)
    """Samples of the audio per space, if it could be decoded completely."""
    warnings: str | None = None


class Row(TypedDict):
    """A row of the Ray dataset."""

    number: int
    """Position of the file in the plan."""
    item: VideoSource | FileFingerprint | DecodedBatch | EmbeddedBatch | EndOfFile | VideoReceipt


@dataclass(frozen=True)
class Decoder:
    """Fingerprints and decodes files in a task. It needs the sampling of a suite, not the suite itself."""

    sampling: Sequence[SamplingSpec]
    """Frame sampling per clip feature extractor."""
    windows: Mapping[str, tuple[int, int]]
    """Window and stride in samples, per audio space."""
    stored: frozenset[str]
    """IDs of videos that need not be decoded."""

    def __call__(self, row: Row) -> Iterator[Row]:
        """Yield the rows of one file."""
        source, number = row["item"], row["number"]
        assert isinstance(source, VideoSource)  # noqa: S101  (for the type checker)
        try:
            fingerprint = source.fingerprint()
            yield Row(number=number, item=fingerprint)
            if fingerprint.video_id in self.stored:
                yield Row(number=number, item=EndOfFile(0))
                return
            for item in self._decode(source.path):
                yield Row(number=number, item=item)
        except Exception as error:  # as `attempt`
            yield Row(number=number, item=failure(source.path, error))

    def _decode(self, path: Path) -> Iterator[DecodedBatch | EndOfFile]:
        count, video_ends = 0, []
        for extractor, spec in enumerate(self.sampling):
            frames = ClipBatches(path, spec)
            for batch in _with_times(extractor, frames):
                yield batch
                count += 1
            video_ends.append(frames.end)
        audio_samples: dict[str, int] = {}
        warnings: list[str] = []
        for space, (window, stride) in self.windows.items():
            windows = Windows(decode_audio(path), window, stride)
            try:
                for batch in _with_times(space, windows.batches()):
                    yield batch
                    count += 1
                audio_samples[space] = windows.samples
            except NoAudioStreamError:
                continue
            except AUDIO_ERRORS as error:
                warnings.append(audio_warning(error))
        yield EndOfFile(count, video_ends, audio_samples, receipt_warnings(path, warnings))


class Embedder:
    """Embeds batches in an actor. The suite is loaded by name at the first batch.

    Batches of the same stream are embedded together even if they belong to different files, because short ones would
    leave a GPU idle.

    Args:
        suite: Name of the suite.
        fingerprint: Its expected fingerprint.
    """

    def __init__(self, suite: str, fingerprint: str) -> None:
        self._suite, self._fingerprint = suite, fingerprint

    def __call__(self, rows: Columns) -> Columns:
        """Return the rows with vectors in place of frames and audio. Other rows pass through."""
        items = list(rows["item"])
        streams: dict[int | str, list[int]] = {}
        for number, item in enumerate(items):
            if isinstance(item, DecodedBatch):
                streams.setdefault(item.key[0], []).append(number)
        for numbers in streams.values():
            for group in _groups(numbers, items):
                for number, result in zip(group, self._embed([items[number] for number in group]), strict=True):
                    items[number] = result
        column = np.empty(len(items), object)
        column[:] = items
        return {"number": rows["number"], "item": column}

    def _embed(self, batches: Sequence[DecodedBatch]) -> list[EmbeddedBatch | VideoReceipt]:
        """Return the vectors of batches of one stream, or the receipt of a failure per batch."""
        started = time.perf_counter()
        try:
            results = self._encode(batches)
        except Exception as error:  # it fails its own file, not the files that share the call
            if len(batches) > 1:
                return [result for batch in batches for result in self._embed([batch])]
            if not isinstance(error, VarPluginError):
                logger.exception("unexpected error while embedding")
                error = EngineError("embedding a part of the file failed", why=f"{type(error).__name__}: {error}")
            return [failure(Path(), error)]  # the calling process fills in the path
        seconds = (time.perf_counter() - started) / len(batches)
        return [
            EmbeddedBatch(batch.key, result, batch.seconds + seconds)
            for batch, result in zip(batches, results, strict=True)
        ]

    def _encode(self, batches: Sequence[DecodedBatch]) -> Sequence[EncodedBatch | EncodedAudio]:
        stream, _ = batches[0].key
        frames = [batch.batch for batch in batches if isinstance(batch.batch, ClipBatch)]
        if frames:
            return encode_batches(frames, self._streams.extractors[int(stream)])
        audio = [batch.batch for batch in batches if isinstance(batch.batch, AudioBatch)]
        return encode_audio_batches(audio, self._streams.audio_encoders[str(stream)])

    @cached_property
    def _streams(self) -> StreamPlan:
        return StreamPlan(load_matching_suite(self._suite, self._fingerprint))


def _groups(numbers: Sequence[int], items: Sequence[Any]) -> Iterator[list[int]]:
    """Split rows into groups of at most `_MAX_FRAMES` frames and windows. A larger batch is a group of its own."""
    group: list[int] = []
    total = 0
    for number in numbers:
        batch = items[number].batch
        size = len(batch.frames) if isinstance(batch, ClipBatch) else len(batch.samples)
        if group and total + size > _MAX_FRAMES:
            yield group
            group, total = [], 0
        group.append(number)
        total += size
    if group:
        yield group


def load_matching_suite(name: str, fingerprint: str) -> Suite:
    """Load a suite by name and check its fingerprint.

    Raises:
        FingerprintMismatchError: The suite of that name has another fingerprint.
        UnknownSuiteError: There is no suite of that name.
    """
    suite = load_suite(name)
    if suite.fingerprint != fingerprint:
        raise FingerprintMismatchError(
            f"suite '{name}' differs between this machine and a worker of the cluster",
            why=f"the fingerprints are {fingerprint} and {suite.fingerprint}; a worker loads a suite by name from "
            "the packages, models and folders of its own machine",
            fix="install the same version of var-plugin, of the models and of the package or folder of the suite "
            "on all machines",
        )
    return suite


def _with_times(stream: int | str, batches: Iterable[ClipBatch | AudioBatch]) -> Iterator[DecodedBatch]:
    """Number the batches of a stream and measure the decoding time of each."""
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        yield DecodedBatch((stream, number), batch, time.perf_counter() - started)
        started = time.perf_counter()


def store_files(
    index: VideoIndex,
    files: Mapping[int, VideoSource],
    streams: StreamPlan,
    rows: Iterator[Row],
    on_result: OnResult,
    progress: Progress | None = None,
) -> None:
    """Store each file once all of its rows have arrived.

    A file whose rows are incomplete fails. If the rows end with an `EngineError`, all unfinished files fail.

    Args:
        index: The index to write to.
        files: The files by position in the plan.
        streams: The streams of the index's suite.
        rows: Rows in any order. Duplicates are ignored.
        on_result: Called for each file.
        progress: Called when a file is stored, with its duration.
    """
    unfinished = {number: _FileParts() for number in files}
    why = "an unexpected error occurred in a worker; see the log above"
    try:
        for row in rows:
            number = row["number"]
            if number in unfinished and unfinished[number].add(row["item"]):
                with ExitStack() as stack:
                    receipt = _store_file(index, files[number], streams, unfinished.pop(number), stack)
                    on_result(number, receipt)
                if progress and receipt.duration is not None and receipt.status == "stored":
                    progress(files[number].path, receipt.duration)
    except EngineError as error:
        why = str(error)
    for number in unfinished:
        failed = EngineError(
            f"a part of {files[number].path} was not processed",
            why=why,
            fix="run the same command again; stored files are skipped",
        )
        on_result(number, failure(files[number].path, failed))


R = TypeVar("R", EncodedBatch, EncodedAudio)


@dataclass
class _FileParts:
    """The rows of one file that have arrived."""

    fingerprint: FileFingerprint | None = None
    batches: dict[BatchKey, EmbeddedBatch] = field(default_factory=dict)
    end: EndOfFile | None = None
    failed: VideoReceipt | None = None

    def add(self, item: Any) -> bool:
        """Add a row. Return whether the file is complete or failed."""
        match item:
            case FileFingerprint():
                self.fingerprint = item
            case EmbeddedBatch():
                self.batches[item.key] = item
            case EndOfFile():
                self.end = item
            case VideoReceipt():
                self.failed = item
        is_complete = self.fingerprint is not None and self.end is not None and len(self.batches) == self.end.batches
        return is_complete or self.failed is not None

    def build_rows(self, streams: StreamPlan, end: EndOfFile, options: IndexOptions) -> VideoEmbeddings:
        """Return the rows of the video."""
        clips = [self._clips(extractor, seconds) for extractor, seconds in enumerate(end.video_ends)]
        audio_rows: Rows = {}
        for space, samples in end.audio_samples.items():
            audio = self._audio(space, streams.audio_encoders[space].window, samples)
            if rows := build_audio_rows(audio, options):
                audio_rows[space] = rows
        return streams.build_rows(clips, audio_rows, end.warnings, options)

    def _clips(self, extractor: int, end: float) -> ClipFeatures:
        return concat_batches(self._stream(extractor, EncodedBatch), lambda: end)

    def _audio(self, space: str, window: int, samples: int) -> AudioFeatures:
        return concat_audio(self._stream(space, EncodedAudio), window, lambda: samples)

    def _stream(self, stream: int | str, kind: type[R]) -> list[R]:
        """Return the batches of one stream in order."""
        batches = sorted((key[1], item.batch) for key, item in self.batches.items() if key[0] == stream)
        return [batch for _, batch in batches if isinstance(batch, kind)]


def _store_file(
    index: VideoIndex, source: VideoSource, streams: StreamPlan, parts: _FileParts, stack: ExitStack
) -> VideoReceipt:
    """Store a file that is complete, or return the receipt of its failure. SIGINT is deferred until `stack` closes."""
    fingerprint, end = parts.fingerprint, parts.end
    if parts.failed is not None:
        return parts.failed.model_copy(update={"path": str(source.path)})
    assert fingerprint is not None  # noqa: S101  (for the type checker)
    assert end is not None  # noqa: S101

    def embeddings() -> VideoEmbeddings:
        if not end.batches:  # the index held the video when the run started, and it was deleted since
            return embed(source.path, index.suite, index.options)
        fingerprint.timer.add("embed", sum(batch.seconds for batch in parts.batches.values()))
        return parts.build_rows(streams, end, index.options)

    return attempt(source.path, lambda: stack.enter_context(prepare(index, source, fingerprint, embeddings)).store())
