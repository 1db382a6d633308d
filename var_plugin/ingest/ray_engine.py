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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from var_plugin.encoders.suite import Suite
from var_plugin.encoders.video import FRAMES_AT_ONCE, Grid
from var_plugin.errors import EngineError, said
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
        raise EngineError("no Ray cluster runs on this machine", why=f"{file}: {said(error)}", fix=fix) from error
    if owner not in (0, os.getuid()):
        raise EngineError(
            "the Ray cluster of this machine belongs to another user",
            why=f"user {owner} wrote {file}",
            fix="name its address, if you trust it: --address HOST:PORT",
        )
    return address
