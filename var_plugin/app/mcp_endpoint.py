"""The MCP endpoint of the page.

Gradio's own endpoint would offer every event of the page as a tool. This one offers the read-only tools of the package
under the same path. `page_gate` checks the host and the origin of requests.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.routing import BaseRoute

from var_plugin.api import Index

PATH = "/gradio_api/mcp"

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def mcp_endpoint(index: Index) -> tuple[list[BaseRoute], Lifespan]:
    """Return the routes of an MCP server for an index, and its lifespan.

    Raises:
        MissingDependencyError: the package mcp is not installed.
    """
    from var_plugin.tools.mcp import http_app

    app = http_app(index, path=PATH)
    return app.routes, lambda _: app.router.lifespan_context(app)
