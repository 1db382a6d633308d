"""The part of the footage that a tool looks at, in words that a model knows: cameras and clock times."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import AwareDatetime, Field

from var_plugin.errors import InvalidInputError
from var_plugin.index.video_index import VideoIndex
from var_plugin.retrievers.wording import plain, quoted
from var_plugin.types import Filter, Value, Video


class Scope(Value):
    """Cameras and clock times; everything where nothing is said."""

    cameras: tuple[str, ...] | None = Field(
        default=None, max_length=100, description="only these cameras, by their names as list_cameras gives them"
    )
    after: AwareDatetime | None = Field(default=None, description="only what was recorded at or after this time")
    before: AwareDatetime | None = Field(default=None, description="only what was recorded before this time")

    def filter(self, index: VideoIndex, *, min_anomaly: float | None = None) -> Filter:
        """Return the filter for it.

        Raises:
            InvalidInputError: there is no such camera.
        """
        cameras = None if self.cameras is None else stored_cameras(committed_videos(index), self.cameras)
        return Filter(cameras=cameras, after=self.after, before=self.before, min_anomaly=min_anomaly)


def committed_videos(index: VideoIndex) -> list[Video]:
    """Return the videos that may be shown."""
    return [video for video in index.videos() if video.state == "committed"]


def stored_cameras(videos: Sequence[Video], shown: Sequence[str]) -> tuple[str, ...]:
    """Return the stored names of the cameras that a model knows by `plain` names.

    Raises:
        InvalidInputError: there is no such camera.
    """
    stored = sorted({video.camera for video in videos})
    unknown = [name for name in shown if plain(name) not in map(plain, stored)]
    if unknown:
        raise InvalidInputError(f"no camera {quoted(unknown[0])} in the index", fix="ask list_cameras for the names")
    return tuple(name for name in stored if plain(name) in map(plain, shown))
