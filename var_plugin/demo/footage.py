"""The demo footage as a folder: one video per camera, and a manifest that says what happens when."""

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

RENDERING_VERSION = 1
"""Goes up whenever `rendering` draws the same script differently, so that footage of before is made anew."""

THREADS = 2
"""Threads are enough: scaling, converting and encoding release Python's lock."""


@dataclass(frozen=True)
class DemoVideo:
    """A rendered camera: its file, the clock time of its first frame (aware), its length (seconds), what happens."""

    path: Path
    camera: str
    recorded_at: datetime
    duration: float
    events: tuple[Event, ...]


def compose(
    folder: Path, *, cameras: Sequence[Camera] = CAMERAS, progress: Callable[[str], None] | None = None
) -> list[DemoVideo]:
    """Render the cameras into a folder and return them in the order given; what is there already is left as it is.

    A file is there when the folder's manifest is that of this very script. Each file appears complete or not at all.

    Args:
        folder: Made when it does not exist.
        cameras: The script; a shortened one renders faster.
        progress: Called with a line of text for each file that was written.

    Raises:
        MissingDependencyError: A package of the ``demo`` extra is missing; nothing is written then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    videos = {camera: _video(camera, folder) for camera in cameras}
    up_to_date = _script_of(manifest) == script_hash(cameras)
    missing = [camera for camera, video in videos.items() if not (up_to_date and video.path.is_file())]
    for media in {media for camera in missing for media in camera.media()}:
        locate(media)
    if not up_to_date:
        # An interrupted run must not leave a manifest that vouches for files of another script.
        manifest.unlink(missing_ok=True)
    pool = ThreadPoolExecutor(THREADS)
    try:
        running = {pool.submit(render, camera, videos[camera].path): camera for camera in missing}
        for done in as_completed(running):
            done.result()
            if progress is not None:
                progress(f"{videos[running[done]].path.name}: {running[done].duration:.0f} s of footage")
    finally:
        pool.shutdown(cancel_futures=True)
    if not up_to_date:
        _write_manifest(manifest, cameras, list(videos.values()))
    return list(videos.values())


def script_hash(cameras: Sequence[Camera]) -> str:
    """Return what tells this script, and the way it is drawn, from every other."""
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
                        "what": event.what,
                        "start": event.start,
                        "end": event.end,
                        "seen": event.shot is not None,
                        "heard": event.recording is not None,
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
