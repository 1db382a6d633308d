"""Starting the server: what `var-plugin serve` calls."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack

from var_plugin.encoders.suites import load_suite
from var_plugin.errors import InvalidInputError
from var_plugin.extras import require
from var_plugin.library import open_index
from var_plugin.settings import is_loopback, settings

_GRACE_SECONDS = 30


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    suite: str | None = None,
    index: str | None = None,
    token: str = "",
    api_keys: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
) -> None:
    """Serve until a signal comes; requests that were taken are answered first.

    Args:
        host: address to listen on.
        port: port to listen on.
        suite: name of the suite; default: the one that made the index, without an index the setting `suite`.
        index: a path or the URI of a Milvus server; None: no routes for search and videos.
        token: what the Milvus server asks for.
        api_keys: any of them opens the server.
        allowed_hosts: hosts that media may be fetched from.

    Raises:
        MissingDependencyError: the packages of the server are not installed.
        InvalidInputError: the server would be open to others than this machine without a key.
        UnknownSuiteError, IndexUnavailableError, FingerprintMismatchError: as `open_index`.
    """
    require("server", "fastapi", "httpcore", "multipart", "prometheus_client", "uvicorn")
    keys = frozenset(key.strip() for key in api_keys if key.strip())
    if not keys and not is_loopback(host):
        raise InvalidInputError(
            f"nothing would keep others out of {host}", why="no API key is set", fix="set one, or listen on 127.0.0.1"
        )
    leave_a_core()
    import uvicorn

    from var_plugin.server.application import build_app
    from var_plugin.server.options import ServerOptions

    options = ServerOptions(api_keys=keys, allowed_hosts=frozenset(allowed_hosts))
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
