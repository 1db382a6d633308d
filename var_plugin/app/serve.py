"""Serve the page. `var-plugin app` and Hugging Face Spaces call `running_page`."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from var_plugin.api import Index
from var_plugin.app.assistant import load_assistant
from var_plugin.app.gate import FILES_IN_QUOTA, UploadQuota, credential_check, page_gate
from var_plugin.app.options import PageOptions
from var_plugin.config import require, settings
from var_plugin.errors import InvalidInputError, os_error_message
from var_plugin.private_files import make_private_folder
from var_plugin.web.same_origin import ASGIApp, SameOriginMiddleware

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def check_page(options: PageOptions) -> None:
    """Check what can be checked without an index.

    Raises:
        MissingDependencyError: a package of the `app` extra is missing.
        InvalidInputError: the options would open the page to strangers, or the address is not available.
    """
    require("app", "gradio", "plotly", "dateparser")
    options.check()
    check_address(options.host, options.port)


@contextmanager
def running_page(index: Index, options: PageOptions, **launch: Any) -> Iterator[str]:
    """Serve the page for an index while the context lasts. Yield its address.

    Args:
        index: the index to search and to add footage to.
        options: access and limits.
        launch: further arguments of `gradio.Blocks.launch`.

    Raises:
        MissingDependencyError, InvalidInputError: as `check_page`.
    """
    check_page(options)
    # Imported here, because Gradio is an optional dependency.
    from var_plugin.app.blocks import build_page
    from var_plugin.app.feedback import FeedbackStore
    from var_plugin.app.ingest_queue import IngestQueue
    from var_plugin.app.mcp_endpoint import mcp_endpoint
    from var_plugin.app.media_registry import MediaRegistry
    from var_plugin.app.state import AppState
    from var_plugin.app.theme import CSS, theme
    from var_plugin.watch.saved_alerts import SavedAlerts

    quota = _upload_quota(options)
    quota.clean()
    state = AppState(
        index=index,
        options=options,
        media=MediaRegistry(index, _is_authorised),
        feedback=FeedbackStore(index.uri, index.suite.fingerprint),
        queue=IngestQueue(index),
        alerts=SavedAlerts(settings().alerts),
        assistant=load_assistant(options.model) if options.model else None,
    )
    _warm_up(index)
    page = build_page(state)
    page.queue(default_concurrency_limit=4)
    routes: list[BaseRoute] = [*state.media.routes()]
    gates: list[SameOriginMiddleware] = []
    lifespans: list[Lifespan] = [_gate_lifespan(lambda app: page_gate(app, options, quota), gates)]
    if options.mcp:
        mcp_routes, mcp_lifespan = mcp_endpoint(index)
        routes += mcp_routes
        lifespans.append(mcp_lifespan)
    try:
        _, address, shared = page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            auth=credential_check(options.users) if options.users else None,
            max_file_size=options.max_file_bytes,
            app_kwargs={
                "routes": routes,
                "lifespan": _combined(lifespans),
                "docs_url": None,
                "redoc_url": None,
                "openapi_url": None,
            },
            theme=theme(),
            css=CSS,
            footer_links=[],
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
            inbrowser=False,
            **launch,
        )
    except OSError as error:  # the port was taken meanwhile, or all default ports of Gradio are taken
        raise InvalidInputError(
            f"the page cannot listen at {options.host}", why=str(error), fix="choose another port with --port"
        ) from error
    try:
        if options.share and not shared:
            raise InvalidInputError(
                "the page has no public address",
                why="Gradio's servers did not open a tunnel",
                fix="check the network, or omit --share",
            )
        if shared and (name := urlsplit(shared).hostname):
            for gate in gates:
                gate.allow_host(name)
        yield shared or address
    finally:
        page.close(verbose=False)
        state.queue.close()


def check_address(host: str, port: int | None) -> None:
    """Refuse an address that is not available.

    Raises:
        InvalidInputError: the port is taken or reserved, or the host is not an address of this machine.
    """
    if port is None:
        return
    if not 0 < port < 65536:
        raise InvalidInputError(f"port {port} is out of range", fix="choose one from 1 to 65535 with --port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        raise InvalidInputError(
            f"the page cannot listen at {host} port {port}",
            why=os_error_message(error),
            fix="choose another port with --port, or stop the program that uses it",
        ) from error


def _upload_quota(options: PageOptions) -> UploadQuota:
    """Set Gradio's upload folder, private unless GRADIO_TEMP_DIR names another, and return its quota."""
    owned = "GRADIO_TEMP_DIR" not in os.environ or os.environ["GRADIO_TEMP_DIR"] == str(_own_upload_folder())
    folder = _own_upload_folder() if owned else Path(os.environ["GRADIO_TEMP_DIR"])
    try:
        if owned or not folder.exists():
            make_private_folder(folder)
    except OSError as error:
        raise InvalidInputError(
            f"the upload folder {folder} cannot be used",
            why=error.strerror or str(error),
            fix="set VAR_PLUGIN_CACHE to a writable folder",
        ) from error
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # Gradio reads it at every event
    return UploadQuota(folder, options.max_file_bytes * FILES_IN_QUOTA, owned=owned)


def _own_upload_folder() -> Path:
    return settings().cache / "page-uploads"


def _gate_lifespan(make_gate: Callable[[ASGIApp], SameOriginMiddleware], gates: list[SameOriginMiddleware]) -> Lifespan:
    """Return a lifespan that puts the gate in front of Gradio's middleware.

    Gradio adds its middleware after that of the caller. The full stack only exists once the application runs.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        gate = make_gate(cast(ASGIApp, app.middleware_stack))
        app.middleware_stack = gate
        gates.append(gate)
        yield

    return lifespan


def _combined(lifespans: list[Lifespan]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for enter in lifespans:
                await stack.enter_async_context(enter(app))
            yield

    return lifespan


def _is_authorised(request: Request) -> bool:
    """Return whether a request has a valid login cookie, by Gradio's rules. True on a page without login."""
    app = request.app
    if app.auth is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


def _warm_up(index: Index) -> None:
    """Load the text models before the first question."""
    index.search("a person", k=1)
