"""The tools for assistants, at the address at which Gradio would offer its own.

Gradio would turn every event of the page into a tool; these are the package's five, which only read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.routing import BaseRoute

from var_plugin.index.video_index import VideoIndex

PATH = "/gradio_api/mcp"

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def mcp_endpoint(index: VideoIndex, host: str) -> tuple[list[BaseRoute], Lifespan]:
    """Return the routes of the MCP server over an index, and what must run while they are served.

    Raises:
        MissingDependencyError: the package mcp is not installed.
    """
    from var_plugin.retrievers.tools.mcp import mcp_server

    app = mcp_server(index).streamable_http_app(streamable_http_path=PATH, host=host)
    return app.routes, lambda _: app.router.lifespan_context(app)
