"""Render one camera of the script to MP4: moving views, sensor noise, drifting exposure, an audio track.

The noise is seeded with the name of the camera, so that rendering is reproducible.
"""

from __future__ import annotations

import math
import zlib
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from var_plugin.demo.script import Camera, Event, Shot
from var_plugin.demo.sources import load_audio, load_images

WIDTH, HEIGHT = 480, 270
FRAME_RATE = Fraction(25, 2)
AUDIO_SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = int(AUDIO_SAMPLE_RATE / FRAME_RATE)

SWEEP_SECONDS = 45.0
"""Time in which a camera moves from one view of its background to the other."""
FADE_SECONDS = 0.5
EXPOSURE_PERIOD_SECONDS = 97.0
EXPOSURE_SWING = 0.06
IMAGE_NOISE = 2.0
"""Standard deviation in 8-bit luma steps."""
AUDIO_NOISE = 0.002
"""Standard deviation relative to full scale; about -54 dBFS."""

VIDEO_OPTIONS = {"preset": "superfast", "crf": "28", "g": "50"}


def render(camera: Camera, path: Path) -> None:
    """Write the video of a camera (H.264 and mono AAC) atomically to `path`.

    Raises:
        MissingDependencyError: A package of the ``demo`` extra is missing.
    """
    # The temporary file is in the same file system as the target. It has no video suffix in case a crash leaves it.
    with TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        partial = Path(folder, "partial")
        _write(camera, partial)
        partial.replace(path)


def _write(camera: Camera, path: Path) -> None:
    scene = _Scene(camera)
    samples = audio_track(camera)
    with av.open(path, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE, options=VIDEO_OPTIONS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        # Cameras are rendered in parallel, and the number of threads changes the encoded bytes.
        video.thread_count = 1
        audio = container.add_stream("aac", rate=AUDIO_SAMPLE_RATE, layout="mono")
        for number in range(round(camera.duration * FRAME_RATE)):
            image = scene.frame(number)
            image.pts, image.time_base = number, 1 / FRAME_RATE
            container.mux(video.encode(image))
            first = number * SAMPLES_PER_FRAME
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + SAMPLES_PER_FRAME], "fltp", "mono")
            frame.pts, frame.time_base, frame.sample_rate = first, Fraction(1, AUDIO_SAMPLE_RATE), AUDIO_SAMPLE_RATE
            container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def audio_track(camera: Camera) -> NDArray[np.float32]:
    """Return (samples,) float32 at `AUDIO_SAMPLE_RATE`: noise plus the looped recordings of the events."""
    random = np.random.default_rng(_seed(camera))
    track = random.normal(0, AUDIO_NOISE, round(camera.duration * AUDIO_SAMPLE_RATE)).astype(np.float32)
    for event in camera.events:
        if event.recording is not None:
            seconds = np.arange(round(event.length * AUDIO_SAMPLE_RATE), dtype=np.float32) / AUDIO_SAMPLE_RATE
            first = round(event.start * AUDIO_SAMPLE_RATE)
            recording = np.resize(load_audio(event.recording, AUDIO_SAMPLE_RATE), len(seconds))
            track[first : first + len(seconds)] += recording * _presence(event, event.start + seconds)
    return track.clip(-1, 1)


class _Scene:
    """The frames of a camera."""

    def __init__(self, camera: Camera) -> None:
        self._background = _ShotPlayer(camera.background)
        self._events = [(event, _ShotPlayer(event.shot)) for event in camera.events if event.shot is not None]
        self._random = np.random.default_rng(_seed(camera))
        self._converter = VideoReformatter()
        # Fresh noise per frame would dominate the rendering time, so 16 noise images are reused.
        self._noise = self._random.normal(0, IMAGE_NOISE, (16, HEIGHT, WIDTH)).astype(np.float32)

    def frame(self, number: int) -> av.VideoFrame:
        """Return one yuv420p frame."""
        seconds = float(number / FRAME_RATE)
        image = self._background.image(seconds, seconds / SWEEP_SECONDS)
        for event, player in self._events:
            presence = float(_presence(event, seconds))
            if presence > 0:
                elapsed = seconds - event.start
                image = Image.blend(image, player.image(elapsed, elapsed / event.length), presence)
        rgb = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        planes = self._converter.reformat(rgb, format="yuv420p").to_ndarray()
        exposure = 1 + EXPOSURE_SWING * math.sin(2 * math.pi * seconds / EXPOSURE_PERIOD_SECONDS)
        luma = planes[:HEIGHT] * np.float32(exposure) + self._random.choice(self._noise)
        planes[:HEIGHT] = luma.clip(16, 235)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")


class _ShotPlayer:
    """Returns the image of a shot at a time."""

    def __init__(self, shot: Shot) -> None:
        images = load_images(shot, float(FRAME_RATE))
        self._images = images + images[-2:0:-1]
        self._views = shot.views

    def image(self, seconds: float, sweep: float) -> Image.Image:
        """Return the (HEIGHT, WIDTH) image: the first view at sweep 0, the second at 1, the first again at 2."""
        image = self._images[round(seconds * FRAME_RATE) % len(self._images)]
        first, second = self._views
        view = first.towards(second, (1 - math.cos(math.pi * sweep)) / 2)
        return image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=view.box(image.size))


def _presence(event: Event, seconds: float | NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the weight of an event in 0…1: 1 during the event, with a linear fade at both ends; else 0."""
    return np.clip(np.minimum(seconds - event.start, event.end - seconds) / FADE_SECONDS, 0, 1)


def _seed(camera: Camera) -> int:
    return zlib.crc32(camera.name.encode())
