"""Adding files with a Ray cluster: tasks decode, actors embed, and the process that called writes.

    files -> decode (a task each, one core) -> embed (actors, a GPU each where there are any) -> this process -> index

Ray Data streams the rows through and holds the decoders back when the actors do not keep up, so memory holds a few runs
of frames whatever the footage. This process joins the vectors of each file, cuts segments and writes them with the same
protocol as ever: one process owns a local Milvus Lite, and a file is stored once or not at all. A worker that dies is
none of the index's business: Ray does its task again.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import grpc
import numpy as np
from numpy.typing import NDArray

from var_plugin.config import environment, require, settings
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
    os_error_message,
)
from var_plugin.index.index import VideoIndex
from var_plugin.ingest.embed import SOUND_IS_BROKEN, Embedded, Rows, Streams, embed, reason, sound_left_out, sound_rows
from var_plugin.ingest.pipeline import (
    Footage,
    Look,
    Progress,
    Tell,
    attempt,
    begin,
    failure,
    is_done,
    settings_fingerprint,
)
from var_plugin.ingest.signals import let_through
from var_plugin.media.sandbox.client import decode_audio
from var_plugin.types import VideoReceipt

# Bytes of frames that a task gathers before it passes them on: some runs.
_BLOCK_BYTES = 16 * 2**20
_MOST_TASKS = 10_000
# Frames of a run for a GPU: beside 16, it took in half as much again.
_GPU_FRAMES = 64
# Runs, and what else is told of files, for one step of an actor.
_ROWS_AT_ONCE = 16
_ANSWER_SECONDS = 10
_SHORT_FOLDER = "/tmp"  # noqa: S108  (a private folder is made in it)


class RayEngine:
    """A Ray cluster does the work; an `Engine`.

    Args:
        address: of a running cluster; `auto` for that of RAY_ADDRESS, or the one that this user or root started on this
            machine. None: the cluster that this process is connected to already; otherwise a temporary one on this
            machine, which listens on the loopback interface only.

    Raises:
        MissingDependencyError: Ray is not installed.
    """

    def __init__(self, address: str | None = None) -> None:
        require("ray", "ray", "pyarrow")
        self._address = address

    def add(
        self, index: VideoIndex, found: Iterable[Footage | VideoReceipt], progress: Progress | None, tell: Tell
    ) -> None:
        """Tell the line of each file when it is done; of two files with the same content one is stored.

        Raises:
            EngineError: there is no such cluster, or it has less than two cores.
            FingerprintMismatchError, UnknownSuiteError: the index's suite cannot be loaded by its name.
        """
        suite = index.suite
        named_suite(suite.name, suite.fingerprint)
        files: dict[int, Footage] = {}
        for number, footage in enumerate(found):
            if isinstance(footage, VideoReceipt):
                tell(number, footage)
            else:
                files[number] = footage
        if not files:
            return
        streams = Streams(suite)
        how = settings_fingerprint(suite)
        done = frozenset(entry.video_id for entry in index.all_entries() if is_done(entry, how))
        with _cluster(self._address):
            cores, gpus = _resources()
            frames_per_batch = _GPU_FRAMES if gpus else FRAMES_PER_BATCH
            decoder = Decoder(
                [SamplingSpec.of(extractor, settings().fps, frames_per_batch) for extractor in streams.extractors],
                {space: (encoder.window, encoder.hop) for space, encoder in streams.sounds.items()},
                done,
            )
            rows = _rows(files, decoder, suite, cores, gpus)
            for number, line in gather(index, files, streams, rows, progress):
                tell(number, line)
                let_through()


def _rows(files: Mapping[int, Footage], decoder: Decoder, suite: Suite, cores: int, gpus: int) -> Iterator[Row]:
    """Run the pipeline; yield its rows in whatever order they come."""
    import ray.data
    import ray.exceptions

    pool = ray.data.ActorPoolStrategy(size=gpus) if gpus else ray.data.ActorPoolStrategy(min_size=1, max_size=cores - 1)
    alike = {"env_vars": environment()}  # workers of other machines have another one
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    jobs = [Row(number=n, item=replace(footage, path=footage.path.absolute())) for n, footage in files.items()]
    rows = ray.data.from_items(jobs, override_num_blocks=min(len(jobs), _MOST_TASKS))
    rows.context.target_max_block_size = _BLOCK_BYTES
    rows.context.max_errored_blocks = -1  # an error that nobody foresaw costs its file, not the others
    rows.context.enable_progress_bars = rows.context.print_on_execution_start = False
    # A limit of its own keeps Ray from doing both steps in the actors.
    decoded = rows.flat_map(decoder, compute=ray.data.TaskPoolStrategy(size=cores), num_cpus=1, runtime_env=alike)
    read = decoded.map_batches(
        Embedder,
        batch_size=_ROWS_AT_ONCE,
        batch_format="numpy",
        fn_constructor_args=(suite.name, suite.fingerprint),
        compute=pool,
        num_cpus=0 if gpus else 1,
        num_gpus=1 if gpus else 0,
        runtime_env=alike,
    )
    try:
        yield from read.iter_rows()
    except ray.exceptions.RayError as error:
        raise EngineError("the Ray cluster gave up", why=str(error), fix="look at its logs") from error


def _resources() -> tuple[int, int]:
    """Return the CPU cores and GPUs of the cluster.

    Raises:
        EngineError: they are too few to decode and embed at the same time.
    """
    import ray

    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cores < (1 if gpus else 2):
        raise EngineError(
            f"the Ray cluster has {cores} CPU cores and {gpus} GPUs",
            why="one core decodes, and a GPU or another core embeds",
            fix="add machines or cores to it, or leave out --engine ray",
        )
    return cores, gpus


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start a temporary one; disconnect or end it with the block.

    Raises:
        EngineError: there is none at the address, or none can be started.
    """
    with ExitStack() as cleanup:
        if address is None:
            options = cleanup.enter_context(_loopback_only())
        import ray

        if ray.is_initialized():
            yield
            return
        if address is None:
            where, fix = "this machine", "try again, or index without --engine ray"
        else:
            where, fix = address, "start one with: ray start --head, or leave the address out"
            options = {"address": _running_cluster(address)}
        cleanup.callback(ray.shutdown)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (Exception, SystemExit) as error:  # Ray raises all kinds, and SystemExit where nothing answers
            raise EngineError(
                f"no Ray cluster answers at {where}", why=str(error) or type(error).__name__, fix=fix
            ) from error
        yield


@contextmanager
def _loopback_only() -> Iterator[dict[str, Any]]:
    """Yield the options of a temporary cluster that only this machine reaches, with files only this user can read.

    Ray replaces 127.0.0.1 by an address that others reach, unless it believes that this machine cannot be part of a
    cluster; that is its default on other operating systems.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(name)
    os.environ[name] = "0"
    from ray._private import ray_constants

    enabled, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    # Not the folder for temporary files, which may be too long for the name of a socket.
    folder = tempfile.mkdtemp(prefix="var-ray-", dir=_SHORT_FOLDER)
    try:
        yield {
            "address": "local",  # otherwise Ray joins that of RAY_ADDRESS, or one that left its address in a file
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "_temp_dir": folder,
        }
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
        shutil.rmtree(folder, ignore_errors=True)


def _running_cluster(address: str) -> str:
    """Return the address of a running cluster as HOST:PORT.

    Raises:
        EngineError: there is none.
    """
    fix = "start one with: ray start --head, or leave the address out"
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _own_cluster(fix)
    target = address.removeprefix("ray://")
    with grpc.insecure_channel(target) as channel:
        try:
            # Ray itself tries for minutes.
            if os.environ.get("RAY_USE_TLS") != "1":
                grpc.channel_ready_future(channel).result(_ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise EngineError(
                f"no Ray cluster answers at {address}", why=f"nothing answered within {_ANSWER_SECONDS} s", fix=fix
            ) from None
    return address


def _own_cluster(fix: str) -> str:
    """Return the address that `ray start` left on this machine; one that another user left is not trusted."""
    file = Path(os.environ.get("RAY_TMPDIR", _SHORT_FOLDER)) / "ray" / "ray_current_cluster"
    try:
        owner, address = file.stat().st_uid, file.read_text().strip()
    except OSError as error:
        raise EngineError(
            "no Ray cluster runs on this machine", why=f"{file}: {os_error_message(error)}", fix=fix
        ) from error
    if owner not in (0, os.getuid()):
        raise EngineError(
            "the Ray cluster of this machine belongs to another user",
            why=f"user {owner} wrote {file}",
            fix="name its address, if you trust it: --address HOST:PORT",
        )
    return address


logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 64
"""Frames, or windows of sound, that go to a network together: memory is theirs to fill."""

Place = tuple[int | str, int]
"""Of a run: the number of its reader or the name of its space, and its number in there."""


@dataclass(frozen=True)
class Cut:
    """A run on its way to an actor."""

    place: Place
    run: ClipBatch | AudioBatch
    seconds: float
    """What decoding it took."""


@dataclass(frozen=True)
class Read:
    """A run that became vectors."""

    place: Place
    run: EncodedBatch | EncodedAudio
    seconds: float
    """What decoding and embedding it took."""


@dataclass(frozen=True)
class End:
    """Everything of a file was sent."""

    runs: int
    """So many; none where the content is in the index already."""
    seen: Sequence[float] = ()
    """Per reader, the end of the last frame in seconds."""
    heard: Mapping[str, int] = field(default_factory=dict)
    """By space, the samples of the sound, where there is any and all of it could be decoded."""
    left_out: str | None = None


Batch = dict[str, NDArray[Any]]
"""Rows by column, as Ray hands several over at once."""


class Row(TypedDict):
    """What Ray moves."""

    number: int
    """Of the file."""
    item: Footage | Look | Cut | Read | End | VideoReceipt


@dataclass(frozen=True)
class Decoder:
    """Looks at files and decodes what a suite reads of them, without the suite itself."""

    grids: Sequence[SamplingSpec]
    """Per reader."""
    windows: Mapping[str, tuple[int, int]]
    """By space that hears: samples of a window, and from window to window."""
    done: frozenset[str]
    """Videos that need not be decoded."""

    def __call__(self, row: Row) -> Iterator[Row]:
        """Yield the rows of one file."""
        footage, number = row["item"], row["number"]
        assert isinstance(footage, Footage)  # noqa: S101  (for the type checker)
        try:
            look = footage.look()
            yield Row(number=number, item=look)
            if look.video_id in self.done:
                yield Row(number=number, item=End(0))
                return
            for item in self._decoded(footage.path):
                yield Row(number=number, item=item)
        except Exception as error:  # as `attempt`
            yield Row(number=number, item=failure(footage.path, error))

    def _decoded(self, path: Path) -> Iterator[Cut | End]:
        sent, seen = 0, []
        for extractor, grid in enumerate(self.grids):
            runs = ClipBatches(path, grid)
            for cut in _timed(extractor, runs):
                yield cut
                sent += 1
            seen.append(runs.end)
        heard: dict[str, int] = {}
        notes: list[str] = []
        for space, (window, hop) in self.windows.items():
            cutter = Windows(decode_audio(path), window, hop)
            try:
                for cut in _timed(space, cutter.runs()):
                    yield cut
                    sent += 1
                heard[space] = cutter.samples
            except NoAudioStreamError:
                continue
            except SOUND_IS_BROKEN as error:
                notes.append(sound_left_out(error))
        yield End(sent, seen, heard, reason(path, notes))


class Embedder:
    """Turns runs into vectors with a suite that it loads by name when the first one comes.

    Runs of the same stream go to the network together, whatever files they are of: short ones would keep a GPU waiting.

    Args:
        suite: its name.
        fingerprint: what the suite's must be.
    """

    def __init__(self, suite: str, fingerprint: str) -> None:
        self._suite, self._fingerprint = suite, fingerprint

    def __call__(self, rows: Batch) -> Batch:
        """Return the rows with vectors in place of frames; others as they are."""
        items = list(rows["item"])
        streams: dict[int | str, list[int]] = {}
        for number, item in enumerate(items):
            if isinstance(item, Cut):
                streams.setdefault(item.place[0], []).append(number)
        for numbers in streams.values():
            for part in _parts(numbers, items):
                for number, read in zip(part, self._read([items[number] for number in part]), strict=True):
                    items[number] = read
        column = np.empty(len(items), object)
        column[:] = items
        return {"number": rows["number"], "item": column}

    def _read(self, cuts: Sequence[Cut]) -> list[Read | VideoReceipt]:
        """Return what becomes of runs of one stream."""
        started = time.perf_counter()
        try:
            runs = self._embedded(cuts)
        except Exception as error:  # whatever it is, it costs its file and not those that came along with it
            if len(cuts) > 1:
                return [read for cut in cuts for read in self._read([cut])]
            if not isinstance(error, VarPluginError):
                logger.exception("an error that nobody foresaw")
                error = EngineError("embedding a part of the file failed", why=f"{type(error).__name__}: {error}")
            # Which file it was, the driver knows.
            return [failure(Path(), error)]
        seconds = (time.perf_counter() - started) / len(cuts)
        return [Read(cut.place, run, cut.seconds + seconds) for cut, run in zip(cuts, runs, strict=True)]

    def _embedded(self, cuts: Sequence[Cut]) -> Sequence[EncodedBatch | EncodedAudio]:
        stream, _ = cuts[0].place
        seen = [cut.run for cut in cuts if isinstance(cut.run, ClipBatch)]
        if seen:
            return encode_batches(seen, self._streams.extractors[int(stream)])
        heard = [cut.run for cut in cuts if isinstance(cut.run, AudioBatch)]
        return encode_audio_batches(heard, self._streams.sounds[str(stream)])

    @cached_property
    def _streams(self) -> Streams:
        return Streams(named_suite(self._suite, self._fingerprint))


def _parts(numbers: Sequence[int], items: Sequence[Any]) -> Iterator[list[int]]:
    """Divide rows so that no part holds more frames and windows than `_MOST_AT_ONCE`, or it is a single run."""
    part: list[int] = []
    held = 0
    for number in numbers:
        run = items[number].run
        size = len(run.frames) if isinstance(run, ClipBatch) else len(run.samples)
        if part and held + size > _MOST_AT_ONCE:
            yield part
            part, held = [], 0
        part.append(number)
        held += size
    if part:
        yield part


def named_suite(name: str, fingerprint: str) -> Suite:
    """Return the suite of that name and fingerprint.

    Raises:
        FingerprintMismatchError: the one of that name is another; besides the errors of `load_suite`.
    """
    suite = load_suite(name)
    if suite.fingerprint != fingerprint:
        raise FingerprintMismatchError(
            f"'{name}' is another suite in a worker of the cluster ({suite.fingerprint}) than here ({fingerprint})",
            why="a worker loads the suite by its name, from the packages, models and folders of its own machine",
            fix="install the same version of var-plugin, of the models and of the package or folder of the suite "
            "on all machines",
        )
    return suite


def _timed(stream: int | str, runs: Iterable[ClipBatch | AudioBatch]) -> Iterator[Cut]:
    """Number the runs of a stream, and say what getting each of them took."""
    started = time.perf_counter()
    for number, run in enumerate(runs):
        yield Cut((stream, number), run, time.perf_counter() - started)
        started = time.perf_counter()


R = TypeVar("R", EncodedBatch, EncodedAudio)


def gather(
    index: VideoIndex,
    files: Mapping[int, Footage],
    streams: Streams,
    rows: Iterator[Row],
    progress: Progress | None = None,
) -> Iterator[tuple[int, VideoReceipt]]:
    """Store each file as soon as all of its rows are there; yield its number and its line.

    A file of which something never comes fails, and so do all that are left when the rows end in an `EngineError`.
    """
    waiting = {number: _Parts() for number in files}
    why = "a worker met an error that nobody foresaw; it is in the log above"
    try:
        for row in rows:
            number = row["number"]
            if number in waiting and waiting[number].take(row["item"]):
                line = _line(index, files[number], streams, waiting.pop(number))
                yield number, line
                if progress and line.duration is not None and line.status == "stored":
                    progress(files[number].path, line.duration)
    except EngineError as error:
        why = str(error)
    for number in waiting:
        lost = EngineError(
            f"a part of the work on {files[number].path} was lost for good",
            why=why,
            fix="run the same command again: what is stored stays as it is",
        )
        yield number, failure(files[number].path, lost)


@dataclass
class _Parts:
    """What has come of one file."""

    look: Look | None = None
    runs: dict[Place, Read] = field(default_factory=dict)
    end: End | None = None
    failed: VideoReceipt | None = None

    def take(self, item: Any) -> bool:
        """Take in what came; tell whether that is all of it."""
        match item:
            case Look():
                self.look = item
            case Read():
                self.runs[item.place] = item
            case End():
                self.end = item
            case VideoReceipt():
                self.failed = item
        whole = self.look is not None and self.end is not None and len(self.runs) == self.end.runs
        return whole or self.failed is not None

    def embedded(self, streams: Streams, end: End) -> Embedded:
        """Return what the vectors make of the video."""
        clips = [self._clips(extractor, seen) for extractor, seen in enumerate(end.seen)]
        sounds: Rows = {}
        for space, samples in end.heard.items():
            if rows := sound_rows(self._heard(space, streams.sounds[space].window, samples)):
                sounds[space] = rows
        return streams.represent(clips, sounds, end.left_out)

    def _clips(self, extractor: int, end: float) -> ClipFeatures:
        return concat_batches(self._stream(extractor, EncodedBatch), lambda: end)

    def _heard(self, space: str, window: int, samples: int) -> AudioFeatures:
        return concat_audio(self._stream(space, EncodedAudio), window, lambda: samples)

    def _stream(self, stream: int | str, kind: type[R]) -> list[R]:
        """Return the runs of one stream in order."""
        found = sorted((place[1], read.run) for place, read in self.runs.items() if place[0] == stream)
        return [run for _, run in found if isinstance(run, kind)]


def _line(index: VideoIndex, footage: Footage, streams: Streams, parts: _Parts) -> VideoReceipt:
    """Store a file of which everything is there, or that failed; return its line."""
    look, end = parts.look, parts.end
    if parts.failed is not None:
        return parts.failed.model_copy(update={"path": str(footage.path)})
    assert look is not None  # noqa: S101  (for the type checker)
    assert end is not None  # noqa: S101

    def embedded() -> Embedded:
        if not end.runs:  # it was in the index when the run began, and is not any more
            return embed(footage.path, index.suite)
        look.clock.count("embed", sum(read.seconds for read in parts.runs.values()))
        return parts.embedded(streams, end)

    return attempt(footage.path, lambda: begin(index, footage, look, embedded).store())
