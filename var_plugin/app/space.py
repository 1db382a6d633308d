"""The page as a Hugging Face Space: its demo footage, and its options from the environment of the Space."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from var_plugin.api import Index
from var_plugin.app.options import PageOptions
from var_plugin.demo import compose

_FRAMED_BY = "https://huggingface.co"


def index_demo(index: Index, folder: Path, *, say: Callable[[str], None]) -> tuple[list[str], int]:
    """Compose the demo footage in a folder and add it to an index.

    Args:
        index: where it goes; what is there already stays.
        folder: where the footage goes.
        say: called with each line for the log of the Space.

    Returns:
        The videos that failed, with their reasons, and the number of all.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
    """
    videos = compose(folder, progress=say)
    failed = []
    for video in videos:
        for line in index.add(video.path, camera=video.camera, recorded_at=video.recorded_at).videos:
            if line.status == "failed":
                failed.append(f"{Path(line.path).name}: {line.reason}")
                say(f"failed: {failed[-1]}")
    say(f"{len(videos) - len(failed)} of {len(videos)} demo videos are indexed")
    return failed, len(videos)


def space_options(failed: list[str], total: int, environment: Mapping[str, str] = os.environ) -> PageOptions:
    """Return the options of a page that everybody may see, and nobody may change, in a frame of huggingface.co."""
    return PageOptions(
        host=environment.get("GRADIO_SERVER_NAME", "0.0.0.0"),  # noqa: S104
        port=int(environment.get("GRADIO_SERVER_PORT", "7860")),
        open_to_all=True,
        read_only=True,
        allowed_hosts=tuple(filter(None, environment.get("SPACE_HOST", "").split(","))),
        framed_by=(_FRAMED_BY,),
        notice=f"{len(failed)} of {total} demo videos could not be indexed: {'; '.join(failed)}" if failed else "",
    )
