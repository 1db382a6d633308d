"""/v1/search and /v1/videos: moments and videos of an index, known to clients by id only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathPart
from fastapi.responses import Response

from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnknownVideoError
from var_plugin.index.catalog import Entry
from var_plugin.index.index import VideoIndex
from var_plugin.retrievers.search import search
from var_plugin.server.inputs import Contents
from var_plugin.server.json_body import bounded_route
from var_plugin.server.pools import Pools
from var_plugin.server.schemas import FoundMoment, IndexedVideo, IndexedVideos, Input, SearchAnswer, SearchRequest
from var_plugin.types import Modality, Moment, Video
from var_plugin.types import Query as Sought

VideoId = Annotated[
    str, PathPart(pattern=r"^[0-9a-f]{1,64}$", description="as a search or the list of videos gives it")
]


_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


def footage_router(index: VideoIndex, contents: Contents, pools: Pools) -> APIRouter:
    """Return the routes over an index; all of them only read."""
    router = APIRouter(prefix="/v1", tags=["footage"], route_class=bounded_route(pools.documents))

    @router.post("/search", summary="Find moments")
    async def search_moments(asked: SearchRequest) -> SearchAnswer:
        """Return the k best moments for what is looked for, best first."""
        async with (
            contents.read(_inputs(asked), index.suite, None) as given,
            contents.opened(given, index.suite, None) as items,
        ):
            parts = {content.modality: item for content, item in zip(given, items, strict=True)}
            pool = pools.searches if set(parts) == {"text"} else pools.media_searches
            moments = await pool.run(
                search,
                index,
                Sought(**parts),
                k=asked.k or 5,
                filter=asked.filter,
                min_score=asked.min_score,
                group_by=asked.group_by or "moment",
                weights=asked.weights,
            )
        return SearchAnswer(data=[_moment(moment) for moment in moments])

    @router.get("/videos", summary="List the videos")
    async def list_videos(
        limit: Annotated[int, Query(ge=1, le=1000, description="so many at most")] = 100,
        after: Annotated[
            str | None, Query(max_length=64, description="id of the last video of the page before")
        ] = None,
    ) -> IndexedVideos:
        """Return the videos that can be found, in order of addition."""
        videos = [video for video in await pools.reads.run(index.videos) if video.state == "committed"]
        start = 0
        if after:
            start = next((place for place, video in enumerate(videos, 1) if video.video_id == after), -1)
            if start < 0:
                raise UnknownVideoError(f"the index holds no video '{after}'")
        page = videos[start : start + limit]
        return IndexedVideos(data=[_video(video) for video in page], has_more=start + limit < len(videos))

    @router.get("/videos/{video_id}", summary="Describe one video")
    async def describe_video(video_id: VideoId) -> IndexedVideo:
        """Return one video of the index."""
        return _video((await pools.reads.run(_entry, index, video_id)).video())

    @router.get("/videos/{video_id}/thumbnail", summary="An image of a video", response_class=Response, responses=_JPEG)
    async def thumbnail(
        video_id: VideoId, at: Annotated[float, Query(ge=0, le=1e6, description="seconds from its start")] = 0.0
    ) -> Response:
        """Return the frame shown at a time, as a JPEG 320 pixels wide."""
        entry = await pools.reads.run(_entry, index, video_id)
        if at > entry.duration:
            raise InvalidInputError(f"the video ends at {entry.duration:.1f} s", fix="ask for an earlier time")
        return Response(await pools.thumbnails.run(_thumbnail, index, entry, at), media_type="image/jpeg")

    return router


def _thumbnail(index: VideoIndex, entry: Entry, time: float) -> bytes:
    file = index.thumbnail(entry, time)
    if file is None:
        raise MediaNotFoundError("there is no image of the video", why="its file cannot be read any more")
    return file.read_bytes()


def _inputs(asked: SearchRequest) -> list[tuple[Input, Modality | None]]:
    parts: dict[Modality, str | None] = {
        "text": asked.text,
        "image": asked.image,
        "audio": asked.audio,
        "video": asked.video,
    }
    inputs: list[tuple[Input, Modality | None]] = [
        (part, modality) for modality, part in parts.items() if part is not None
    ]
    if not inputs:
        raise InvalidInputError("nothing to search for", fix="give a text, an image, an audio or a video")
    return inputs


def _entry(index: VideoIndex, video_id: str) -> Entry:
    entry = index.entries([video_id]).get(video_id)
    if entry is None:
        raise UnknownVideoError(f"the index holds no video '{video_id}'")
    return entry


def _moment(moment: Moment) -> FoundMoment:
    uri = f"/v1/videos/{moment.video_id}"
    on_this_server = {"uri": uri, "name": Path(moment.uri).name, "thumbnail": f"{uri}/thumbnail?at={moment.peak:.3f}"}
    return FoundMoment(**moment.model_dump(include=set(FoundMoment.model_fields)) | on_this_server)


def _video(video: Video) -> IndexedVideo:
    shown = video.model_dump(include=set(IndexedVideo.model_fields))
    return IndexedVideo(**shown | {"id": video.video_id, "name": Path(video.uri).name})
