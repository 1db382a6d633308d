"""Run the server; implements `var-plugin serve`."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from functools import partial
from typing import cast

from var_plugin.api import open_index
from var_plugin.config import require, settings
from var_plugin.encoders.registry import load_suite
from var_plugin.server.options import ServerOptions
from var_plugin.web.limits import check_listen_address
from var_plugin.web.same_origin import ASGIApp


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    suite: str | None = None,
    index: str | None = None,
    token: str | None = None,
    create: bool = False,
    options: ServerOptions | None = None,
) -> None:
    """Run the server until a signal arrives. Requests in progress have `web.serving.GRACE_SECONDS` to finish.

    Args:
        host: address to listen on.
        port: port to listen on.
        suite: name of the suite. None: the suite of the index, or without an index the setting `suite`.
        index: path or Milvus URI of an index. None: no routes for search and videos.
        token: token of the Milvus server.
        create: create the index if it does not exist.
        options: API keys and limits. None: the defaults.

    Raises:
        MissingDependencyError: the packages of the server are not installed.
        InvalidInputError: `host` is not a loopback address, and no API key is set.
        UnknownSuiteError, IndexUnavailableError, FingerprintMismatchError: as `open_index`.
    """
    require("server", "fastapi", "httpcore", "multipart", "prometheus_client", "uvicorn")
    options = options or ServerOptions()
    check_listen_address(host, options.api_keys)
    limit_encoder_threads()
    from var_plugin.server.application import build_app
    from var_plugin.web.serving import run_app

    with ExitStack() as stack:
        opened = stack.enter_context(open_index(index, suite=suite, token=token, create=create)) if index else None
        options = options.model_copy(update={"allowed_hosts": options.allowed_hosts | {host}})
        app = build_app(opened.suite if opened else load_suite(suite or settings().suite), opened, options)
        # Removes temporary files of requests when the process is forced to exit.
        cleanup = partial(shutil.rmtree, app.state.workspace, ignore_errors=True)
        run_app(cast(ASGIApp, app), host=host, port=port, cleanup=cleanup)


def limit_encoder_threads() -> None:
    """Reserve one core for request handling, unless OMP_NUM_THREADS is set. Call it before torch is imported.

    OpenMP threads wait for each other by spinning. If one of them shares its core with request handling, all are slow.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) - 1)))
