"""Add and remove the owner's examples of what is normal or an alarm, and score the index again."""

from __future__ import annotations

import numpy as np

from var_plugin.errors import InvalidInputError, UnknownVideoError
from var_plugin.index.examples import ExampleKind, OwnerExample
from var_plugin.index.generation import VideoGeneration
from var_plugin.index.schema import Row


def add_sentence(index: VideoGeneration, kind: ExampleKind, text: str, camera: str | None) -> OwnerExample:
    """Store a sentence as an example.

    Args:
        index: index of the footage.
        kind: what the sentence describes: something normal, or an alarm.
        text: the sentence.
        camera: camera to which it applies. None: all cameras.

    Raises:
        InvalidInputError: the suite embeds no text, the sentence cannot be stored, or no video has this camera.
    """
    if not any(encoders.text for encoders in index.suite.encoders.values()):
        raise InvalidInputError(
            f"suite '{index.suite.name}' cannot read a sentence", why="it embeds no text", fix="mark a moment instead"
        )
    if camera is not None and all(entry.latest_sighting.camera != camera for entry in index.all_entries()):
        raise InvalidInputError(f"the index has no video of camera '{camera}'", fix="list them: var-plugin videos")
    return index.owner_examples.add(kind, text, camera=camera)


def add_moment(
    index: VideoGeneration, kind: ExampleKind, moment_id: str, video_id: str, start: float, end: float
) -> OwnerExample:
    """Store a moment of the footage as an example for its camera, by the vector of its most anomalous segment.

    Args:
        index: index of the footage.
        kind: what the moment shows: something normal, or an alarm.
        moment_id: id of the moment.
        video_id: its video.
        start: its start in seconds.
        end: its end in seconds.

    Raises:
        UnknownVideoError: the index does not contain the video.
        InvalidInputError: the moment is outside the video.
    """
    entry = index.entries([video_id]).get(video_id)
    if entry is None:
        raise UnknownVideoError(f"the index contains no video '{video_id}'", fix="list the videos: var-plugin videos")
    space = index.suite.encoders_for("video").space.name
    rows = [
        row
        for row in index.stored_rows(space, [video_id])
        if row["kind"] != "video" and row["start_ms"] < 1000 * end and row["end_ms"] > 1000 * start
    ]
    if not rows:
        raise InvalidInputError(
            f"moment '{moment_id}' is outside its video", fix="use the id of a moment from a search"
        )

    def closeness(row: Row) -> tuple[float, float]:
        overlap = min(row["end_ms"] / 1000, end) - max(row["start_ms"] / 1000, start)
        union = max(row["end_ms"] / 1000, end) - min(row["start_ms"] / 1000, start)
        return overlap / union, row["anomaly"]

    best = max(rows, key=closeness)
    camera = entry.latest_sighting.camera
    return index.owner_examples.add(
        kind,
        f"{start:.1f} s to {end:.1f} s of a video of camera {camera}"[:300],
        camera=camera,
        moment=moment_id,
        vector=np.asarray(best["vector"], np.float32),
        fingerprint=index.suite.spaces[space].fingerprint,
    )
