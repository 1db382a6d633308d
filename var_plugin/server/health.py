"""Routes /health/live, /health/ready and /metrics, for orchestrators and Prometheus."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from var_plugin.api import Index
from var_plugin.encoders.suite import Suite
from var_plugin.errors import VarPluginError
from var_plugin.server.metrics import Metrics
from var_plugin.server.pools import ThreadPool
from var_plugin.server.schemas import Health

logger = logging.getLogger(__name__)

_INDEX_TIMEOUT_SECONDS = 5.0
# A suite may use different weights for single texts and for batches.
_WARM_UP_BATCH_SIZES = (1, 32)


class Readiness:
    """Readiness check: the text encoders are loaded and the index responds.

    Args:
        suite: the suite whose text encoders are loaded.
        index: the index to check. None: only the encoders count.
        pool: thread pool for the check of the index.
    """

    def __init__(self, suite: Suite, index: Index | None, pool: ThreadPool) -> None:
        self._suite, self._index, self._pool = suite, index, pool
        self._check: asyncio.Task[str] | None = None
        self._encoder_problem = "the encoders are loading"

    async def warm_up(self) -> None:
        """Load all text encoders, so that the first request does not wait for them."""
        try:
            for name, space in self._suite.spaces.items():
                if "text" in space.modalities:
                    for count in _WARM_UP_BATCH_SIZES:
                        await asyncio.to_thread(self._suite.encode, "text", ["a red car"] * count, space=name)
        except Exception:  # any error must end the "loading" state
            logger.exception("cannot load the encoders")
            self._encoder_problem = "cannot load the encoders; the server log has the details"
        else:
            self._encoder_problem = ""

    async def problem(self) -> str:
        """Return why the server is not ready, or an empty string."""
        if self._encoder_problem or self._index is None:
            return self._encoder_problem
        # Concurrent requests share one check.
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_index(self._index))
        finished, _ = await asyncio.wait({self._check}, timeout=_INDEX_TIMEOUT_SECONDS)
        return self._check.result() if finished else f"the index did not respond within {_INDEX_TIMEOUT_SECONDS:.0f} s"

    async def _check_index(self, index: Index) -> str:
        try:
            await self._pool.run(index.size)
        except VarPluginError:
            logger.exception("the index does not respond")
            return "the index does not respond; the server log has the details"
        return ""


def health_router(readiness: Readiness, metrics: Metrics) -> APIRouter:
    """Return the routes for health and metrics."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live", summary="Liveness")
    async def live() -> Health:
        """Return 200 while the process runs. Needs no API key."""
        return Health(status="live")

    @router.get("/health/ready", summary="Readiness")
    async def ready() -> Health:
        """Return 503 while the encoders are loading or the index does not respond. Needs no API key."""
        if problem := await readiness.problem():
            raise HTTPException(503, problem)
        return Health(status="ready")

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
    async def get_metrics() -> PlainTextResponse:
        """Return request counts, latencies, batch sizes and requests in progress."""
        return PlainTextResponse(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
