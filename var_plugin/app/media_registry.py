"""Thumbnails, clips and downloads of the page, served under random tokens.

Only moments that a visitor was shown have a token. A token reveals no file name.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from var_plugin.api import Index
from var_plugin.config import settings
from var_plugin.errors import UnknownVideoError, VarPluginError
from var_plugin.media.cache import media_cache
from var_plugin.media.clips import Clip, playable_clip
from var_plugin.types import Moment

logger = logging.getLogger(__name__)

Allowed = Callable[[Request], bool]
"""Returns whether a request is authorised: it has a valid login, or the page needs none."""

MAX_TOKENS = 20_000
MAX_CLIP_SECONDS = 60.0
"""Maximum length of a served clip. Moments without motion may be longer."""

_PRIVATE = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Download:
    """A generated file that is kept in memory."""

    name: str
    media_type: str
    content: str


class MediaRegistry:
    """Moments and downloads by token. The oldest of more than `MAX_TOKENS` are removed.

    Args:
        index: the index with the footage.
        allowed: returns whether a request is authorised.
    """

    def __init__(self, index: Index, allowed: Allowed) -> None:
        self._index, self._allowed = index, allowed
        self._items: OrderedDict[str, Moment | Download] = OrderedDict()
        self._tokens: dict[tuple[str, float, float], str] = {}
        self._lock = threading.Lock()

    def token(self, moment: Moment) -> str:
        """Register a moment and return its token. A registered moment keeps its token."""
        key = (moment.id, moment.peak, moment.score)
        with self._lock:
            token = self._tokens.get(key) or secrets.token_urlsafe(16)
            self._tokens[key] = token
            self._put(token, moment)
        return token

    def add_download(self, download: Download) -> str:
        """Register a file and return its address relative to the page."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._put(token, download)
        return f"media/{token}/{download.name}"

    def moment(self, token: str) -> Moment | None:
        """Return the moment of a token; None for an unknown token."""
        item = self._items.get(token)
        return item if isinstance(item, Moment) else None

    def clip(self, moment: Moment) -> Clip:
        """Return a clip of the moment that browsers can play. It is cut if it is not cached.

        Raises:
            VarPluginError: the footage was deleted, overwritten, or cannot be read.
        """
        end = min(moment.end, moment.start + MAX_CLIP_SECONDS)
        folder = media_cache(settings()).video_folder(moment.video_id)
        span = f"{round(moment.start * 1000)}-{round(end * 1000)}"
        # The file name holds the start of the clip. A copied clip starts at a key frame before the moment.
        for path in folder.glob(f"{span}.*.play.mp4"):
            media_cache(settings()).use(path)
            return Clip(path, int(path.name.split(".")[1]) / 1000, end)
        video = self._index.source(moment.video_id)
        clip = playable_clip(video, moment.start, end, folder / f"{span}.{secrets.token_hex(4)}.new.mp4")
        path = clip.path.with_name(f"{span}.{round(clip.start * 1000)}.play.mp4")
        clip.path.replace(path)
        media_cache(settings()).add(path)
        return Clip(path, clip.start, clip.end)

    def routes(self) -> list[Route]:
        """Return the HTTP routes of thumbnails, clips and downloads."""
        return [
            Route("/media/{token}/image.jpg", self._image),
            Route("/media/{token}/clip.mp4", self._clip),
            Route("/media/{token}/{name}", self._download),
        ]

    def _put(self, token: str, item: Moment | Download) -> None:
        self._items[token] = item
        self._items.move_to_end(token)
        while len(self._items) > MAX_TOKENS:
            _, removed = self._items.popitem(last=False)
            if isinstance(removed, Moment):
                self._tokens.pop((removed.id, removed.peak, removed.score), None)

    async def _image(self, request: Request) -> Response:
        moment = self._requested_moment(request)
        return _not_found() if moment is None else await anyio.to_thread.run_sync(self._thumbnail, moment)

    async def _clip(self, request: Request) -> Response:
        moment = self._requested_moment(request)
        return _not_found() if moment is None else await anyio.to_thread.run_sync(self._clip_file, moment)

    async def _download(self, request: Request) -> Response:
        item = self._items.get(request.path_params["token"])
        if not self._allowed(request) or not isinstance(item, Download) or item.name != request.path_params["name"]:
            return _not_found()
        headers = {**_PRIVATE, "Content-Disposition": f'attachment; filename="{item.name}"'}
        content = item.content.encode("utf-8", "replace")  # a file name may contain bytes that are not UTF-8
        return Response(content, media_type=item.media_type, headers=headers)

    def _requested_moment(self, request: Request) -> Moment | None:
        return self.moment(request.path_params["token"]) if self._allowed(request) else None

    def _thumbnail(self, moment: Moment) -> Response:
        try:
            image = self._index.thumbnail(moment.video_id, moment.peak)
        except UnknownVideoError:  # it was deleted meanwhile
            image = None
        return FileResponse(image, media_type="image/jpeg", headers=_PRIVATE) if image else _not_found()

    def _clip_file(self, moment: Moment) -> Response:
        try:
            clip = self.clip(moment)
        except VarPluginError as error:
            logger.warning("a clip could not be cut: %s", error)
            return _not_found()
        # A copied clip starts at a key frame before the moment.
        span = f"{max(0.0, moment.start - clip.start):.2f},{clip.end - clip.start:.2f}"
        return FileResponse(clip.path, media_type="video/mp4", headers={**_PRIVATE, "X-Moment-Span": span})


def _not_found() -> Response:
    return PlainTextResponse("not found", status_code=404)
