"""/health/live, /health/ready and /metrics: what orchestrators and Prometheus ask."""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from var_plugin.encoders.suite import Suite
from var_plugin.errors import VarPluginError
from var_plugin.index.index import VideoIndex
from var_plugin.server.metrics import Metrics
from var_plugin.server.pools import Pool
from var_plugin.server.schemas import Health

logger = logging.getLogger(__name__)

_INDEX_SECONDS = 5.0
# A suite may encode single texts and batches by different weights.
_WARM_UP_TEXTS = (1, 32)


class Readiness:
    """Whether the server can answer: the text encoders have worked once, and the index answers now."""

    def __init__(self, suite: Suite, index: VideoIndex | None, pool: Pool) -> None:
        self._suite, self._index, self._pool = suite, index, pool
        self._check: asyncio.Task[str] | None = None
        self._obstacle = "the encoders are loading"

    async def warm_up(self) -> None:
        """Let every text encoder load its weights before the first request needs them."""
        try:
            for name, space in self._suite.spaces.items():
                if "text" in space.modalities:
                    for count in _WARM_UP_TEXTS:
                        await asyncio.to_thread(self._suite.encode, "text", ["a red car"] * count, space=name)
        except Exception:  # whatever it is, the server must not say "loading" for ever
            logger.exception("the encoders cannot be used")
            self._obstacle = "the encoders cannot be used; the server's log says why"
        else:
            self._obstacle = ""

    async def obstacle(self) -> str:
        """Return why the server cannot answer, or an empty string."""
        if self._obstacle or self._index is None:
            return self._obstacle
        # Concurrent requests share one check; while one is unanswered, no other begins.
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_index(self._index))
        done, _ = await asyncio.wait({self._check}, timeout=_INDEX_SECONDS)
        return self._check.result() if done else f"the index did not answer within {_INDEX_SECONDS:.0f} s"

    async def _check_index(self, index: VideoIndex) -> str:
        try:
            await self._pool.run(index.size)
        except VarPluginError:
            logger.exception("the index does not answer")
            return "the index does not answer; the server's log says why"
        return ""


def health_router(readiness: Readiness, metrics: Metrics) -> APIRouter:
    """Return the routes that tell how the server is."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live", summary="Whether the process runs")
    async def live() -> Health:
        """Answer, which is all there is to it; needs no key."""
        return Health(status="live")

    @router.get("/health/ready", summary="Whether requests will be answered")
    async def ready() -> Health:
        """Answer with 503 while the encoders load or the index does not answer; needs no key."""
        if obstacle := await readiness.obstacle():
            raise HTTPException(503, obstacle)
        return Health(status="ready")

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
    async def show_metrics() -> PlainTextResponse:
        """Return counts, times, batch sizes and requests in flight."""
        return PlainTextResponse(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router
