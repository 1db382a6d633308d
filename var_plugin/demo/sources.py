"""The media of the demo, found in the packages that carry them and decoded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from var_plugin.demo.script import Media, Shot
from var_plugin.errors import MissingDependencyError

MAX_FILM_WIDTH = 640


def locate(media: Media) -> Path:
    """Return where a file of an installed package lies, without importing the package.

    Raises:
        MissingDependencyError: The package is not installed, or its version does not carry the file.
    """
    spec = find_spec(media.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, media.path)
        if path.is_file():
            return path
    raise MissingDependencyError(
        f"the demo footage needs the file '{media.path}' of the Python package '{media.package}'",
        why="the package is not installed" if spec is None else "the installed version does not carry it",
        fix='run: pip install "var-plugin[demo]"',
    )


def load_images(shot: Shot, rate: float) -> list[Image.Image]:
    """Return the RGB images that a shot shows: one, or those of its film at `rate` a second.

    Images of a film are at most `MAX_FILM_WIDTH` pixels wide, so that seconds of it fit into memory.
    """
    path = locate(shot.media)
    if shot.film is None:
        with Image.open(path) as image:
            return [image.convert("RGB")]
    start, end = shot.film
    images: list[Image.Image] = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        width = min(stream.width, MAX_FILM_WIDTH)
        height = round(stream.height * width / stream.width)
        for frame in container.decode(stream):
            if frame.time > end and images:
                break
            if frame.time >= start + len(images) / rate:
                images.append(Image.fromarray(frame.to_ndarray(format="rgb24", width=width, height=height)))
    return images


def load_sound(media: Media, rate: int) -> NDArray[np.float32]:
    """Return a recording as (samples,) mono float32 in -1…1 at `rate` samples a second."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    with av.open(locate(media)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32) / np.float32(32768)
