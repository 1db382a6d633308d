"""Starting the page: what `var-plugin app` and a Space call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.routing import BaseRoute

from var_plugin.app.adding import Adder
from var_plugin.app.assistant import load_assistant
from var_plugin.app.desk import Desk
from var_plugin.app.marks import Marks
from var_plugin.app.mcp_endpoint import mcp_endpoint
from var_plugin.app.media import Shelf
from var_plugin.app.options import PageOptions
from var_plugin.app.page import build_page
from var_plugin.app.theme import CSS, theme
from var_plugin.extras import require
from var_plugin.library import Index
from var_plugin.retrievers.search import search
from var_plugin.types import Query


@contextmanager
def running_page(index: Index, options: PageOptions, **launch: Any) -> Iterator[str]:
    """Serve the page over an index for as long as the block lasts; yields its address.

    Args:
        index: what is searched, and added to.
        options: who may see it and what they may do.
        launch: passed on to `gradio.Blocks.launch`.

    Raises:
        InvalidInputError: the options would let strangers in unasked.
    """
    require("app", "gradio", "plotly", "dateparser")
    options.check()
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
    lifespan = None
    if options.mcp:
        mcp_routes, lifespan = mcp_endpoint(index, options.host)
        routes += mcp_routes
    _, address, shared = page.launch(
        server_name=options.host,
        server_port=options.port,
        share=options.share,
        auth=list(options.users) or None,
        max_file_size=options.max_upload,
        app_kwargs={"routes": routes, "lifespan": lifespan, "docs_url": None, "redoc_url": None, "openapi_url": None},
        theme=theme(),
        css=CSS,
        footer_links=[],
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
        inbrowser=False,
        **launch,
    )
    try:
        yield shared or address
    finally:
        page.close(verbose=False)
        desk.adder.close()


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
