"""Images and short clips of found moments, known to browsers by tokens that nobody can guess.

Only what a search, or a look at the timeline, has found gets a token; there is no way from one to a file's name.
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

from var_plugin.errors import UnknownVideoError, VarPluginError
from var_plugin.index.footage import find_footage
from var_plugin.index.index import VideoIndex
from var_plugin.media.cache import media_cache
from var_plugin.media.clips import Clip, playable_clip
from var_plugin.types import Moment

logger = logging.getLogger(__name__)

Allowed = Callable[[Request], bool]
"""Tells whether the sender of a request is logged in, where a login is asked for."""

MOST_TOKENS = 20_000
LONGEST_CLIP = 60.0
"""Seconds of a moment that are shown: segments where nothing moves may be longer."""

_PRIVATE = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Download:
    """A small file made for one person."""

    name: str
    media_type: str
    content: str


class Shelf:
    """What this page has shown so far: moments and downloads by their tokens; the oldest are forgotten."""

    def __init__(self, index: VideoIndex, allowed: Allowed) -> None:
        self._index, self._allowed = index, allowed
        self._items: OrderedDict[str, Moment | Download] = OrderedDict()
        self._tokens: dict[tuple[str, float, float], str] = {}
        self._lock = threading.Lock()

    def token(self, moment: Moment) -> str:
        """Return the token of a moment; the same as long as it is remembered."""
        key = (moment.id, moment.peak, moment.score)
        with self._lock:
            token = self._tokens.get(key) or secrets.token_urlsafe(16)
            self._tokens[key] = token
            self._put(token, moment)
        return token

    def offer(self, download: Download) -> str:
        """Return the address, within this page, at which a file can be fetched."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._put(token, download)
        return f"media/{token}/{download.name}"

    def moment(self, token: str) -> Moment | None:
        """Return the moment of a token; None for one that was never given, or is forgotten."""
        found = self._items.get(token)
        return found if isinstance(found, Moment) else None

    def clip(self, moment: Moment) -> Clip:
        """Return a clip of the moment that browsers play, made now if need be.

        Raises:
            VarPluginError: the footage is gone, was overwritten, or cannot be read.
        """
        entry = self._index.entries([moment.video_id]).get(moment.video_id)
        end = min(moment.end, moment.start + LONGEST_CLIP)
        folder = media_cache().video_folder(moment.video_id)
        span = f"{round(moment.start * 1000)}-{round(end * 1000)}"
        # The name tells where the clip begins: a copied one at a key frame before the moment.
        for made in folder.glob(f"{span}.*.play.mp4"):
            media_cache().use(made)
            return Clip(made, int(made.name.split(".")[1]) / 1000, end)
        if entry is None:
            raise UnknownVideoError(f"the index holds no video '{moment.video_id}' any more")
        video = find_footage(entry)
        clip = playable_clip(video, moment.start, end, folder / f"{span}.{secrets.token_hex(4)}.new.mp4")
        kept = clip.path.with_name(f"{span}.{round(clip.start * 1000)}.play.mp4")
        clip.path.replace(kept)
        media_cache().add(kept)
        return Clip(kept, clip.start, clip.end)

    def routes(self) -> list[Route]:
        """Return the routes that the page's images, players and links name."""
        return [
            Route("/media/{token}/image.jpg", self._image),
            Route("/media/{token}/clip.mp4", self._clip),
            Route("/media/{token}/{name}", self._download),
        ]

    def _put(self, token: str, item: Moment | Download) -> None:
        self._items[token] = item
        self._items.move_to_end(token)
        while len(self._items) > MOST_TOKENS:
            _, dropped = self._items.popitem(last=False)
            if isinstance(dropped, Moment):
                self._tokens.pop((dropped.id, dropped.peak, dropped.score), None)

    async def _image(self, request: Request) -> Response:
        moment = self._asked(request)
        return _missing() if moment is None else await anyio.to_thread.run_sync(self._thumbnail, moment)

    async def _clip(self, request: Request) -> Response:
        moment = self._asked(request)
        return _missing() if moment is None else await anyio.to_thread.run_sync(self._clip_file, moment)

    async def _download(self, request: Request) -> Response:
        item = self._items.get(request.path_params["token"])
        if not self._allowed(request) or not isinstance(item, Download) or item.name != request.path_params["name"]:
            return _missing()
        headers = {**_PRIVATE, "Content-Disposition": f'attachment; filename="{item.name}"'}
        content = item.content.encode("utf-8", "replace")  # a file name may have no UTF-8 form
        return Response(content, media_type=item.media_type, headers=headers)

    def _asked(self, request: Request) -> Moment | None:
        return self.moment(request.path_params["token"]) if self._allowed(request) else None

    def _thumbnail(self, moment: Moment) -> Response:
        entry = self._index.entries([moment.video_id]).get(moment.video_id)
        image = self._index.thumbnail(entry, moment.peak) if entry else None
        return FileResponse(image, media_type="image/jpeg", headers=_PRIVATE) if image else _missing()

    def _clip_file(self, moment: Moment) -> Response:
        try:
            path = self.clip(moment).path
        except VarPluginError as error:
            logger.warning("no clip: %s", error)
            return _missing()
        return FileResponse(path, media_type="video/mp4", headers=_PRIVATE)


def _missing() -> Response:
    return PlainTextResponse("nothing is here", status_code=404)
