"""Starting the page: what `var-plugin app` and a Space call."""

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
from var_plugin.retrievers.search import search
from var_plugin.types import Query
from var_plugin.web.gate import ASGIApp, HttpGate

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


@contextmanager
def running_page(index: Index, options: PageOptions, **launch: Any) -> Iterator[str]:
    """Serve the page over an index for as long as the block lasts; yields its address.

    Args:
        index: what is searched, and added to.
        options: who may see it and what they may do.
        launch: passed on to `gradio.Blocks.launch`.

    Raises:
        InvalidInputError: the options would let strangers in unasked, or the address cannot be listened at.
    """
    require("app", "gradio", "plotly", "dateparser")
    options.check()
    check_address(options.host, options.port)
    # Gradio and what builds on it, only now that it is known to be there.
    from var_plugin.app.blocks import build_page
    from var_plugin.app.feedback import Marks
    from var_plugin.app.ingest_queue import Adder
    from var_plugin.app.mcp_endpoint import mcp_endpoint
    from var_plugin.app.media_registry import Shelf
    from var_plugin.app.state import Desk
    from var_plugin.app.theme import CSS, theme

    quota = _upload_quota(options)
    quota.clean()
    desk = Desk(
        index=index,
        options=options,
        shelf=Shelf(index, _logged_in),
        marks=Marks(index.uri, index.suite.fingerprint),
        adder=Adder(index),
        assistant=load_assistant(options.model) if options.model else None,
    )
    _warm_up(index)
    page = build_page(desk)
    page.queue(default_concurrency_limit=4)
    routes: list[BaseRoute] = [*desk.shelf.routes()]
    gates: list[HttpGate] = []
    lifespans: list[Lifespan] = [_gated(lambda app: page_gate(app, options, quota), gates)]
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
                "lifespan": _joined(lifespans),
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
    except OSError as error:  # another program took the port meanwhile, or all of Gradio's are taken
        raise InvalidInputError(
            f"the page cannot listen at {options.host}", why=str(error), fix="choose another port with --port"
        ) from error
    try:
        if options.share and not shared:
            raise InvalidInputError(
                "the page got no public address",
                why="Gradio's servers did not open a tunnel",
                fix="leave out --share, or check the network",
            )
        if shared and (name := urlsplit(shared).hostname):
            for gate in gates:
                gate.allow_host(name)
        yield shared or address
    finally:
        page.close(verbose=False)
        desk.adder.close()


def check_address(host: str, port: int | None) -> None:
    """Refuse an address that cannot be listened at.

    Raises:
        InvalidInputError: the port is taken or reserved, or the address is not one of this machine.
    """
    if port is None:
        return
    if not 0 < port < 65536:
        raise InvalidInputError(f"there is no port {port}", fix="choose one from 1 to 65535 with --port")
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
            fix="choose another port with --port, or end the program that uses it",
        ) from error


def _upload_quota(options: PageOptions) -> UploadQuota:
    """Choose the folder of Gradio's uploads, a private one unless the environment names another, and bound it."""
    owned = "GRADIO_TEMP_DIR" not in os.environ or os.environ["GRADIO_TEMP_DIR"] == str(_own_upload_folder())
    folder = _own_upload_folder() if owned else Path(os.environ["GRADIO_TEMP_DIR"])
    try:
        if owned or not folder.exists():
            make_private_folder(folder)
    except OSError as error:
        raise InvalidInputError(
            f"the folder for uploads {folder} cannot be used",
            why=error.strerror or str(error),
            fix="set VAR_PLUGIN_CACHE to a folder that can be written",
        ) from error
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # Gradio reads it with every event
    return UploadQuota(folder, options.max_file_bytes * FILES_IN_QUOTA, owned=owned)


def _own_upload_folder() -> Path:
    return settings().cache / "page-uploads"


def _gated(put_gate: Callable[[ASGIApp], HttpGate], gates: list[HttpGate]) -> Lifespan:
    """Return a lifespan that puts the gate in front of all of Gradio's own middleware.

    Gradio adds its middleware after that of the caller, so that only the running application has all of it.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        gate = put_gate(cast(ASGIApp, app.middleware_stack))
        app.middleware_stack = gate
        gates.append(gate)
        yield

    return lifespan


def _joined(lifespans: list[Lifespan]) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for each in lifespans:
                await stack.enter_async_context(each(app))
            yield

    return lifespan


def _logged_in(request: Request) -> bool:
    """Tell whether a request carries the cookie of a login, as Gradio's own routes do; True where none is asked for."""
    app = request.app
    if app.auth is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(app.tokens.get(request.cookies.get(name)) is not None for name in names)


def _warm_up(index: Index) -> None:
    """Load the models of words before the first question comes."""
    search(index, Query(text="a person"), k=1)
