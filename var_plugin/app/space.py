"""The page as a Hugging Face Space: demo footage, and options from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from var_plugin.api import Index
from var_plugin.app.options import PageOptions
from var_plugin.demo import compose

_FRAMED_BY = "https://huggingface.co"


def index_demo(index: Index, folder: Path, *, log: Callable[[str], None]) -> tuple[list[str], int]:
    """Compose the demo footage in a folder and index it.

    Args:
        index: the target. Videos that are in it already are kept.
        folder: target folder of the footage.
        log: called with each line of progress.

    Returns:
        The failed videos with their reasons, and the number of all videos.

    Raises:
        MissingDependencyError: a package of the `demo` extra is missing.
    """
    videos = compose(folder, progress=log)
    failed = []
    for video in videos:
        for receipt in index.add(video.path, camera=video.camera, recorded_at=video.recorded_at).videos:
            if receipt.status == "failed":
                failed.append(f"{Path(receipt.path).name}: {receipt.reason}")
                log(f"failed: {failed[-1]}")
    log(f"{len(videos) - len(failed)} of {len(videos)} demo videos are indexed")
    return failed, len(videos)


def space_options(failed: list[str], total: int, environment: Mapping[str, str] = os.environ) -> PageOptions:
    """Return the options of a public, read-only page that huggingface.co may show in a frame."""
    return PageOptions(
        host=environment.get("GRADIO_SERVER_NAME", "0.0.0.0"),  # noqa: S104
        port=int(environment.get("GRADIO_SERVER_PORT", "7860")),
        open_to_all=True,
        read_only=True,
        allowed_hosts=tuple(filter(None, environment.get("SPACE_HOST", "").split(","))),
        framed_by=(_FRAMED_BY,),
        notice=f"{len(failed)} of {total} demo videos could not be indexed: {'; '.join(failed)}" if failed else "",
    )
