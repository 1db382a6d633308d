"""Connect to a Ray cluster, or start a temporary one that only this machine can reach."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from var_plugin.errors import EngineError, os_error_message

_ANSWER_SECONDS = 10
_SHORT_FOLDER = "/tmp"  # noqa: S108  (a private folder is created in it)


def cluster_resources() -> tuple[int, int]:
    """Return the CPU cores and GPUs of the cluster.

    Raises:
        EngineError: They are too few to decode and embed at the same time.
    """
    import ray

    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if cores < (1 if gpus else 2):
        raise EngineError(
            f"the Ray cluster has {cores} CPU cores and {gpus} GPUs",
            why="decoding needs a core, and embedding needs a GPU or another core",
            fix="add machines or cores to it, or omit --engine ray",
        )
    return cores, gpus


@contextmanager
def connected_cluster(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start a temporary one. Disconnect or stop it at the end of the block.

    Raises:
        EngineError: No cluster answers at the address, or none can be started.
    """
    with ExitStack() as cleanup:
        if address is None:
            options = cleanup.enter_context(_loopback_only())
        import ray

        if ray.is_initialized():
            yield
            return
        if address is None:
            name, fix = "this machine", "try again, or index without --engine ray"
        else:
            name, fix = address, "start one with: ray start --head, or omit the address"
            options = {"address": _running_cluster(address)}
        cleanup.callback(ray.shutdown)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except (Exception, SystemExit) as error:  # Ray raises many types, and SystemExit if nothing answers
            raise EngineError(
                f"no Ray cluster answers at {name}", why=str(error) or type(error).__name__, fix=fix
            ) from error
        yield


@contextmanager
def _loopback_only() -> Iterator[dict[str, Any]]:
    """Yield the options of a temporary cluster that only this machine can reach. Its files are private to this user.

    Ray replaces 127.0.0.1 by a public address unless clusters are disabled for this machine, as they are by default on
    Windows and macOS.
    """
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(name)
    os.environ[name] = "0"
    from ray._private import ray_constants

    enabled, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    # The path of TMPDIR may be too long for the name of a socket.
    folder = tempfile.mkdtemp(prefix="var-ray-", dir=_SHORT_FOLDER)
    try:
        yield {
            "address": "local",  # otherwise Ray joins the cluster of RAY_ADDRESS or of its address file
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
        EngineError: No cluster answers.
    """
    fix = "start one with: ray start --head, or omit the address"
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or _own_cluster(fix)
    target = address.removeprefix("ray://")
    with grpc.insecure_channel(target) as channel:
        try:
            # Ray itself would retry for minutes.
            if os.environ.get("RAY_USE_TLS") != "1":
                grpc.channel_ready_future(channel).result(_ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise EngineError(
                f"no Ray cluster answers at {address}", why=f"nothing answered within {_ANSWER_SECONDS} s", fix=fix
            ) from None
    return address


def _own_cluster(fix: str) -> str:
    """Return the address that `ray start` wrote on this machine. A file of another user is not trusted."""
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
            fix="if you trust it, name its address: --address HOST:PORT",
        )
    return address
