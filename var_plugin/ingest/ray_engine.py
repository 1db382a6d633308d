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
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from var_plugin.encoders.suite import Suite
from var_plugin.encoders.video import FRAMES_AT_ONCE, Grid
from var_plugin.errors import EngineError
from var_plugin.extras import require
from var_plugin.index.video_index import VideoIndex
from var_plugin.ingest.engines import Tell
from var_plugin.ingest.file import Footage, is_done
from var_plugin.ingest.gather import gather
from var_plugin.ingest.interruption import let_through
from var_plugin.ingest.ray_workers import Decoder, Embedder, Row, named_suite
from var_plugin.ingest.rows import Streams
from var_plugin.ingest.video import Progress, settings_fingerprint
from var_plugin.settings import environment, settings
from var_plugin.types import VideoReceipt

# Bytes of frames that a task gathers before it passes them on: some runs.
_BLOCK_BYTES = 16 * 2**20
_MOST_TASKS = 10_000
# Frames of a run for a GPU: beside 16, it took in half as much again.
_GPU_FRAMES = 64
# Runs, and what else is told of files, for one step of an actor.
_ROWS_AT_ONCE = 16
_ANSWER_SECONDS = 10


class RayEngine:
    """A Ray cluster does the work; an `Engine`.

    Args:
        address: of a running cluster, `auto` for the one that this machine is part of. None: what RAY_ADDRESS says,
            where this process is connected to already, or a cluster on this machine for as long as it takes.

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
            at_once = _GPU_FRAMES if gpus else FRAMES_AT_ONCE
            decoder = Decoder(
                [Grid.of(reader, settings().clip_rate, at_once) for reader in streams.readers],
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
    """Be connected to a cluster; leave it, and end it where it was started here.

    Raises:
        EngineError: there is none at the address.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        _check_answers(address or os.environ.get("RAY_ADDRESS", ""))
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'this machine')}",
            why=str(error),
            fix="start one with: ray start --head, or leave the address out",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise OSError where nobody listens; Ray itself would end this process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
