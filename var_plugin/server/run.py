"""Starting the server: what `var-plugin serve` calls."""

from __future__ import annotations

import os
from contextlib import ExitStack

from var_plugin.encoders.suites import load_suite
from var_plugin.errors import InvalidInputError
from var_plugin.extras import require
from var_plugin.library import open_index
from var_plugin.server.options import ServerOptions
from var_plugin.settings import is_loopback, settings

_GRACE_SECONDS = 30


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    suite: str | None = None,
    index: str | None = None,
    token: str | None = None,
    options: ServerOptions | None = None,
) -> None:
    """Serve until a signal comes; requests that were taken are answered first.

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
    if not options.api_keys and not is_loopback(host):
        raise InvalidInputError(
            f"nothing would keep others out of {host}",
            why="no API key is set",
            fix="set VAR_PLUGIN_API_KEYS, or listen on 127.0.0.1",
        )
    leave_a_core()
    import uvicorn

    from var_plugin.server.application import build_app

    with ExitStack() as stack:
        opened = stack.enter_context(open_index(index, suite=suite, token=token)) if index else None
        app = build_app(opened.suite if opened else load_suite(suite or settings().suite), opened, options)
        uvicorn.run(
            app,
            host=host,
            port=port,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )


def leave_a_core() -> None:
    """Keep the encoders' threads off one core, unless OMP_NUM_THREADS says what they may have.

    They wait for each other by spinning: on a core that also reads requests, that costs many times what it saves. Works
    only before torch is loaded.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) - 1)))
