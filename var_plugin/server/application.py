"""The FastAPI application: routes, middleware and lifespan."""

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
from var_plugin.api import Index
from var_plugin.encoders.suite import Suite
from var_plugin.server.batch_encoder import BatchEncoder
from var_plugin.server.embeddings import embeddings_router
from var_plugin.server.errors import ErrorBody, add_handlers, render_error
from var_plugin.server.fetch import Fetcher
from var_plugin.server.health import Readiness, health_router
from var_plugin.server.inputs import InputReader
from var_plugin.server.memory import MemoryBudget
from var_plugin.server.metrics import Metrics, MetricsMiddleware
from var_plugin.server.middleware import AdmissionMiddleware
from var_plugin.server.options import ServerOptions
from var_plugin.server.pools import ThreadPools
from var_plugin.server.search import search_router
from var_plugin.web.same_origin import SameOriginMiddleware

_DESCRIPTION = """OpenAI-compatible embeddings of text, image, audio and video, and search for moments in indexed
footage. All errors have the same body. After `429` and `503`, try again later."""

_ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "invalid request, or media that cannot be decoded"},
    401: {"model": ErrorBody, "description": "no valid API key"},
    404: {"model": ErrorBody, "description": "unknown model or video"},
    413: {"model": ErrorBody, "description": "the request exceeds a limit on size, length or count"},
    415: {"model": ErrorBody, "description": "the request body is compressed"},
    429: {"model": ErrorBody, "description": "the server is at capacity; retry after `Retry-After` seconds"},
    "4XX": {"model": ErrorBody, "description": "any other client error"},
    "5XX": {"model": ErrorBody, "description": "server error; the server log has the details"},
}


def build_app(suite: Suite, index: Index | None = None, options: ServerOptions | None = None) -> FastAPI:
    """Build the ASGI application.

    Args:
        suite: encodes the inputs.
        index: index to search. None: no routes for search and videos. The caller closes it.
        options: API keys and limits. None: the defaults.
    """
    options = options or ServerOptions()
    metrics = Metrics()
    pools = ThreadPools()
    bodies, decoded = MemoryBudget(options.memory_bytes // 2), MemoryBudget(options.memory_bytes // 2)
    readiness = Readiness(suite, index, pools.health)
    # Requests remove their own files. The folder is removed with the app.
    workspace = tempfile.TemporaryDirectory(prefix="var-plugin-")
    reader = InputReader(
        Fetcher(options.fetch_hosts, options.max_body_bytes),
        options.limits,
        Path(workspace.name),
        pools=pools,
        bodies=bodies,
        decoded=decoded,
        max_fetched_bytes=options.max_body_bytes,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warm_up = asyncio.create_task(readiness.warm_up())
        yield
        warm_up.cancel()
        pools.close()
        workspace.cleanup()

    app = FastAPI(
        title="var-plugin",
        summary="Video anomaly retrieval: embeddings and search",
        description=_DESCRIPTION,
        version=var_plugin.__version__,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # Swagger UI would load scripts from another host
        redoc_url=None,
        redirect_slashes=False,
        responses=_ERROR_RESPONSES,
        lifespan=lifespan,
    )
    app.state.workspace = workspace.name
    # This only documents the bearer tokens in OpenAPI. `AdmissionMiddleware` checks them before it reads a body.
    bearer = [Depends(HTTPBearer(auto_error=False, description="an API key of the server"))]
    encoder = BatchEncoder(suite, reader, metrics, pools, options.max_batch)
    app.include_router(health_router(readiness, metrics))
    app.include_router(embeddings_router(encoder, reader, pools), dependencies=bearer)
    if index is not None:
        app.include_router(search_router(index, reader, pools), dependencies=bearer)
    add_handlers(app)
    app.add_middleware(AdmissionMiddleware, options=options, bodies=bodies)
    app.add_middleware(SameOriginMiddleware, allowed_hosts=options.allowed_hosts, render=render_error)
    app.add_middleware(MetricsMiddleware, metrics=metrics)
    return app
