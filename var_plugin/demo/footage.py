"""The folder of the demo footage: one video per camera, and a manifest with the ground truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from var_plugin.demo.rendering import render
from var_plugin.demo.script import CAMERAS, Camera, Event
from var_plugin.demo.sources import locate

MANIFEST = "manifest.json"

RENDERING_VERSION = 2
"""Increase it when `rendering` changes its output, so that old footage is rendered again."""

THREADS = 2
"""Threads suffice, because scaling, converting and encoding release the GIL."""


@dataclass(frozen=True)
class DemoVideo:
    """A rendered camera: file, aware clock time of the first frame, duration in seconds, and events."""

    path: Path
    camera: str
    recorded_at: datetime
    duration: float
    events: tuple[Event, ...]


def compose(
    folder: Path, *, cameras: Sequence[Camera] = CAMERAS, progress: Callable[[str], None] | None = None
) -> list[DemoVideo]:
    """Render the cameras into a folder and return the videos in order.

    Existing videos are kept if the manifest of the folder matches the script. Each file is written atomically.

    Args:
        folder: target folder; created if it does not exist.
        cameras: the script.
        progress: called with a line of text for each written file.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing. Nothing is written then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    videos = {camera: _video(camera, folder) for camera in cameras}
    up_to_date = _script_of(manifest) == script_hash(cameras)
    missing = [camera for camera, video in videos.items() if not (up_to_date and video.path.is_file())]
    for media in {media for camera in missing for media in camera.media()}:
        locate(media)
    if not up_to_date:
        # After an interruption no manifest may remain that does not match the files.
        manifest.unlink(missing_ok=True)
    pool = ThreadPoolExecutor(THREADS)
    try:
        running = {pool.submit(render, camera, videos[camera].path): camera for camera in missing}
        for future in as_completed(running):
            future.result()
            if progress is not None:
                progress(f"{videos[running[future]].path.name}: {running[future].duration:.0f} s of footage")
    finally:
        pool.shutdown(cancel_futures=True)
    if not up_to_date:
        _write_manifest(manifest, cameras, list(videos.values()))
    return list(videos.values())


def script_hash(cameras: Sequence[Camera]) -> str:
    """Return a hash of the script and the rendering version."""
    script = json.dumps([RENDERING_VERSION, [asdict(camera) for camera in cameras]], default=datetime.isoformat)
    return hashlib.sha256(script.encode()).hexdigest()


def _video(camera: Camera, folder: Path) -> DemoVideo:
    path = folder / f"{camera.name}.mp4"
    return DemoVideo(path, camera.name, camera.recorded_at, camera.duration, camera.events)


def _script_of(manifest: Path) -> str | None:
    try:
        script = json.loads(manifest.read_text())["script"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return script if isinstance(script, str) else None


def _write_manifest(manifest: Path, cameras: Sequence[Camera], videos: Sequence[DemoVideo]) -> None:
    content = {
        "script": script_hash(cameras),
        "videos": [
            {
                "file": video.path.name,
                "camera": video.camera,
                "recorded_at": video.recorded_at.isoformat(),
                "duration": video.duration,
                "events": [
                    {
                        "id": event.id,
                        "description": event.description,
                        "start": event.start,
                        "end": event.end,
                        "kind": event.kind,
                        "visible": event.is_visible,
                        "audible": event.recording is not None,
                    }
                    for event in video.events
                ],
            }
            for video in videos
        ],
    }
    partial = manifest.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(manifest)
