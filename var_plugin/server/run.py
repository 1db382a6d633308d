"""Starting the server: what `var-plugin serve` calls."""

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
    options: ServerOptions | None = None,
) -> None:
    """Serve until a signal comes; requests in progress have `web.serving.GRACE_SECONDS` to end.

    Args:
        host: address to listen on.
        port: port to listen on.
        suite: name of the suite; default: the one that made the index, without an index the setting `suite`.
        index: a path or the URI of a Milvus server; None: no routes for search and videos.
        token: as for `open_index`.
        options: keys and limits.

    Raises:
        MissingDependencyError: the packages of the server are not installed.
        InvalidInputError: the server would be open to others than this machine without a key.
        UnknownSuiteError, IndexUnavailableError, FingerprintMismatchError: as `open_index`.
    """
    require("server", "fastapi", "httpcore", "multipart", "prometheus_client", "uvicorn")
    options = options or ServerOptions()
    check_listen_address(host, options.api_keys)
    limit_encoder_threads()
    from var_plugin.server.application import build_app
    from var_plugin.web.serving import run_app

    with ExitStack() as stack:
        opened = stack.enter_context(open_index(index, suite=suite, token=token)) if index else None
        options = options.model_copy(update={"host_names": options.host_names | {host}})
        app = build_app(opened.suite if opened else load_suite(suite or settings().suite), opened, options)
        # Removes what clients sent, where the server cannot end in order.
        cleanup = partial(shutil.rmtree, app.state.workspace, ignore_errors=True)
        run_app(cast(ASGIApp, app), host=host, port=port, cleanup=cleanup)


def limit_encoder_threads() -> None:
    """Keep the encoders' threads off one core, unless OMP_NUM_THREADS says what they may have.

    They wait for each other by spinning: on a core that also reads requests, that costs many times what it saves. Works
    only before torch is loaded.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) - 1)))
