"""The server put together: routes, the gate before them, and what starts and ends with it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

import var_plugin
from var_plugin.encoders.suite import Suite
from var_plugin.index.index import VideoIndex
from var_plugin.server.batch_encoder import Encoding
from var_plugin.server.embeddings import embeddings_router
from var_plugin.server.errors import ErrorBody, add_handlers, render_error
from var_plugin.server.fetch import Fetcher
from var_plugin.server.health import Readiness, health_router
from var_plugin.server.inputs import Contents
from var_plugin.server.memory import MemoryBudget
from var_plugin.server.metrics import Metrics, MetricsMiddleware
from var_plugin.server.middleware import Gate
from var_plugin.server.options import ServerOptions
from var_plugin.server.pools import Pools
from var_plugin.server.search import footage_router
from var_plugin.web.same_origin import SameOriginMiddleware

_DESCRIPTION = """Vectors for texts, images, sounds and videos, as OpenAI's clients ask for them, and search for the
moments of indexed footage. Every failure has the same body; `429` and `503` mean: later."""

_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "the request makes no sense"},
    401: {"model": ErrorBody, "description": "no valid API key"},
    404: {"model": ErrorBody, "description": "no such model or video"},
    413: {"model": ErrorBody, "description": "larger, longer or more than the limits"},
    415: {"model": ErrorBody, "description": "a packed request"},
    429: {"model": ErrorBody, "description": "the server is full; come back after `Retry-After` seconds"},
    "4XX": {"model": ErrorBody, "description": "any other mistake in a request"},
    "5XX": {"model": ErrorBody, "description": "the server could not answer; its log says why"},
}


def build_app(suite: Suite, index: VideoIndex | None = None, options: ServerOptions | None = None) -> FastAPI:
    """Return the app, for any ASGI server.

    Args:
        suite: what encodes.
        index: what is searched; without one there are no routes for search and videos. The caller closes it.
        options: keys and limits.
    """
    options = options or ServerOptions()
    metrics = Metrics()
    pools = Pools()
    bodies, decoded = MemoryBudget(options.memory_bytes // 2), MemoryBudget(options.memory_bytes // 2)
    readiness = Readiness(suite, index, pools.health)
    # Removed with the app: what a request leaves there is gone with the request.
    workspace = tempfile.TemporaryDirectory(prefix="var-plugin-")
    contents = Contents(
        Fetcher(options.allowed_hosts, options.max_body_bytes),
        options.limits,
        Path(workspace.name),
        pools=pools,
        bodies=bodies,
        decoded=decoded,
        most_fetched=options.max_body_bytes,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(readiness.warm_up())
        yield
        warming.cancel()
        pools.close()
        workspace.cleanup()

    app = FastAPI(
        title="var-plugin",
        summary="Video anomaly retrieval: embeddings and search",
        description=_DESCRIPTION,
        version=var_plugin.__version__,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # the page would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        responses=_FAILURES,
        lifespan=lifespan,
    )
    app.state.workspace = workspace.name
    # Only describes that keys are bearer tokens; the gate checks them, before a body is read.
    keys = [Depends(HTTPBearer(auto_error=False, description="one of the server's API keys"))]
    encoding = Encoding(suite, contents, metrics, pools, options.max_batch)
    app.include_router(health_router(readiness, metrics))
    app.include_router(embeddings_router(encoding, contents, pools), dependencies=keys)
    if index is not None:
        app.include_router(footage_router(index, contents, pools), dependencies=keys)
    add_handlers(app)
    app.add_middleware(Gate, options=options, bodies=bodies)
    app.add_middleware(SameOriginMiddleware, allowed_hosts=options.host_names, render=render_error)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    return app
