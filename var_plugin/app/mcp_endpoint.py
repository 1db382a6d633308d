"""The tools for assistants, at the address at which Gradio would offer its own.

Gradio would turn every event of the page into a tool; these are the package's five, which only read. The
page's gate checks the host and the origin of requests.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.routing import BaseRoute

from var_plugin.index.index import VideoIndex

PATH = "/gradio_api/mcp"

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def mcp_endpoint(index: VideoIndex) -> tuple[list[BaseRoute], Lifespan]:
    """Return the routes of the MCP server over an index, and what must run while they are served.

    Raises:
        MissingDependencyError: the package mcp is not installed.
    """
    from var_plugin.tools.mcp import http_app

    app = http_app(index, path=PATH)
    return app.routes, lambda _: app.router.lifespan_context(app)
