"""Routes /v1/search and /v1/videos. Responses have ids and file names, never paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from fastapi.responses import Response

from var_plugin.api import Index
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnknownVideoError
from var_plugin.server.inputs import InputReader
from var_plugin.server.json_body import bounded_route
from var_plugin.server.pools import ThreadPools
from var_plugin.server.schemas import (
    AnomaliesRequest,
    IndexedVideo,
    IndexedVideos,
    Input,
    MomentResult,
    SearchRequest,
    SearchResponse,
    default_if_empty,
)
from var_plugin.types import Modality, Moment, Video

VideoId = Annotated[
    str, PathParameter(pattern=r"^[0-9a-f]{1,64}$", description="video id from a search or from /v1/videos")
]

_JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}


def search_router(index: Index, reader: InputReader, pools: ThreadPools) -> APIRouter:
    """Return the read-only routes over an index."""
    router = APIRouter(prefix="/v1", tags=["search"], route_class=bounded_route(pools.json))

    @router.post("/search", summary="Search for moments")
    async def search_moments(request: SearchRequest) -> SearchResponse:
        """Return the k best moments for a query, best first."""
        if request.filter is not None and not _inputs(request):
            if request.min_score is not None or request.weights:
                raise InvalidInputError(
                    "`min_score` and `weights` have no effect without a query",
                    fix="use /v1/anomalies and its `min_score`",
                )
            return await list_anomalies(
                AnomaliesRequest(k=request.k or 5, filter=request.filter, group_by=request.group_by)
            )
        async with (
            reader.read(_required_inputs(request), index.suite, None) as contents,
            reader.decode(contents, index.suite, None) as items,
        ):
            parts = {content.modality: item for content, item in zip(contents, items, strict=True)}
            pool = pools.searches if set(parts) == {"text"} else pools.media_searches
            moments = await pool.run(
                index.search,
                **parts,
                k=request.k or 5,
                filter=request.filter,
                min_score=request.min_score,
                group_by=request.group_by or "moment",
                weights=request.weights,
            )
        return SearchResponse(data=[_moment_result(moment) for moment in moments])

    @router.post("/anomalies", summary="List the anomalies")
    async def list_anomalies(request: AnomaliesRequest) -> SearchResponse:
        """Return the k most anomalous moments, the strongest first."""
        moments = await pools.searches.run(
            index.anomalies,
            request.k or 20,
            filter=request.filter,
            kinds=request.kinds,
            min_score=request.min_score,
            group_by=request.group_by or "moment",
            order=request.order or "score",
        )
        return SearchResponse(data=[_moment_result(moment) for moment in moments])

    @router.get("/videos", summary="List the videos")
    async def list_videos(
        limit: Annotated[
            int, Query(ge=1, le=1000, description="maximum number of videos"), default_if_empty(100)
        ] = 100,
        after: Annotated[
            str | None,
            Query(max_length=64, description="id of the last video of the previous page"),
            default_if_empty(None),
        ] = None,
    ) -> IndexedVideos:
        """Return the committed videos, in the order in which they were added."""
        videos = [video for video in await pools.reads.run(index.videos) if video.state == "committed"]
        start = 0
        if after:
            start = next((position for position, video in enumerate(videos, 1) if video.video_id == after), -1)
            if start < 0:
                raise UnknownVideoError(f"the index contains no video '{after}'")
        page = videos[start : start + limit]
        return IndexedVideos(data=[_indexed_video(video) for video in page], has_more=start + limit < len(videos))

    @router.get("/videos/{video_id}", summary="Describe one video")
    async def describe_video(video_id: VideoId) -> IndexedVideo:
        """Return one video of the index."""
        return _indexed_video(await pools.reads.run(index.video, video_id))

    @router.get("/videos/{video_id}/thumbnail", summary="Video thumbnail", response_class=Response, responses=_JPEG)
    async def thumbnail(
        video_id: VideoId,
        at: Annotated[
            float, Query(ge=0, le=1e6, description="seconds from the start of the video"), default_if_empty(0.0)
        ] = 0.0,
    ) -> Response:
        """Return the frame at a time as a JPEG, 320 pixels wide."""
        duration = (await pools.reads.run(index.video, video_id)).duration
        if at > duration:
            raise InvalidInputError(
                f"there is no frame at {at:g} s",
                why=f"the video ends at {duration:.1f} s",
                fix="use a smaller `at`",
            )
        return Response(await pools.thumbnails.run(_thumbnail, index, video_id, at), media_type="image/jpeg")

    return router


def _thumbnail(index: Index, video_id: str, time: float) -> bytes:
    file = index.thumbnail(video_id, time)
    if file is None:
        raise MediaNotFoundError("there is no thumbnail of the video", why="the video file can no longer be read")
    return file.read_bytes()


def _inputs(request: SearchRequest) -> list[tuple[Input, Modality | None]]:
    parts: dict[Modality, str | None] = {
        "text": request.text,
        "image": request.image,
        "audio": request.audio,
        "video": request.video,
    }
    return [(part, modality) for modality, part in parts.items() if part is not None]


def _required_inputs(request: SearchRequest) -> list[tuple[Input, Modality | None]]:
    if inputs := _inputs(request):
        return inputs
    raise InvalidInputError(
        "nothing to search for", fix="set `text`, `image`, `audio` or `video`, or use /v1/anomalies"
    )


def _moment_result(moment: Moment) -> MomentResult:
    uri = f"/v1/videos/{moment.video_id}"
    public = {"uri": uri, "name": Path(moment.uri).name, "thumbnail": f"{uri}/thumbnail?at={moment.peak:.3f}"}
    return MomentResult(**moment.model_dump(include=set(MomentResult.model_fields)) | public)


def _indexed_video(video: Video) -> IndexedVideo:
    fields = video.model_dump(include=set(IndexedVideo.model_fields))
    return IndexedVideo(**fields | {"id": video.video_id, "name": Path(video.uri).name})
