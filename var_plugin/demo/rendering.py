"""Render one camera of the script to MP4: events, sensor noise, drifting exposure, a clock, an audio track.

The noise is seeded with the name of the camera, so that rendering is reproducible.
"""

from __future__ import annotations

import math
import zlib
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from var_plugin.demo.effects import draw_cutout, draw_flames, draw_smoke, synthesize
from var_plugin.demo.script import Camera, Event, Flames, Media, Shot, Smoke, Sound
from var_plugin.demo.sources import load_audio, load_images

WIDTH, HEIGHT = 480, 270
FRAME_RATE = Fraction(25, 2)
AUDIO_SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = int(AUDIO_SAMPLE_RATE / FRAME_RATE)

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
            recording = _recording(event.recording, event.length)
            track[first : first + len(seconds)] += np.resize(recording, len(seconds)) * _presence(
                event, event.start + seconds
            )
    return track.clip(-1, 1)


def _recording(recording: Media | Sound, seconds: float) -> NDArray[np.float32]:
    if isinstance(recording, Media):
        return load_audio(recording, AUDIO_SAMPLE_RATE)
    return synthesize(recording, seconds, AUDIO_SAMPLE_RATE)


class _Scene:
    """The frames of a camera."""

    def __init__(self, camera: Camera) -> None:
        self._camera, self._background = camera, _ShotPlayer(camera.background)
        self._shots = {event.id: _ShotPlayer(event.shot) for event in camera.events if event.shot is not None}
        self._random = np.random.default_rng(_seed(camera))
        self._converter = VideoReformatter()
        self._font = ImageFont.load_default(size=12)
        # Fresh noise per frame would dominate the rendering time, so 16 noise images are reused.
        self._noise = self._random.normal(0, IMAGE_NOISE, (16, HEIGHT, WIDTH)).astype(np.float32)

    def frame(self, number: int) -> av.VideoFrame:
        """Return one yuv420p frame."""
        seconds = float(number / FRAME_RATE)
        pixels = self._background.pixels(seconds).copy()
        for event in self._camera.events:
            presence, elapsed = np.float32(_presence(event, seconds)), seconds - event.start
            if presence > 0 and event.is_visible:
                pixels += presence * (self._with_event(pixels.copy(), event, elapsed) - pixels)
        image = Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))
        self._draw_clock(image, seconds)
        rgb = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        planes = self._converter.reformat(rgb, format="yuv420p").to_ndarray()
        exposure = 1 + EXPOSURE_SWING * math.sin(2 * math.pi * seconds / EXPOSURE_PERIOD_SECONDS)
        luma = planes[:HEIGHT] * np.float32(exposure) + self._random.choice(self._noise)
        planes[:HEIGHT] = luma.clip(16, 235)
        return av.VideoFrame.from_ndarray(planes, format="yuv420p")

    def _with_event(self, pixels: NDArray[np.float32], event: Event, elapsed: float) -> NDArray[np.float32]:
        if event.id in self._shots:
            pixels = self._shots[event.id].pixels(elapsed).copy()
        for effect in event.effects:
            if isinstance(effect, Flames):
                draw_flames(pixels, effect, elapsed)
            elif isinstance(effect, Smoke):
                draw_smoke(pixels, effect, elapsed)
            else:
                draw_cutout(pixels, effect)
        return pixels

    def _draw_clock(self, image: Image.Image, seconds: float) -> None:
        """Write name and time into the upper left corner, as cameras do."""
        now = self._camera.recorded_at + timedelta(seconds=seconds)
        text, draw = f"{self._camera.name}  {now:%Y-%m-%d %H:%M:%S}", ImageDraw.Draw(image)
        draw.text((7, 5), text, fill="black", font=self._font)
        draw.text((6, 4), text, fill="white", font=self._font)


class _ShotPlayer:
    """Returns the image of a shot at a time."""

    def __init__(self, shot: Shot) -> None:
        images = load_images(shot, float(FRAME_RATE))
        scaled = [
            image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=shot.view.box(image.size)) for image in images
        ]
        frames = [shot.brightness / 255 * np.asarray(image, np.float32) for image in scaled]
        self._frames = frames + frames[-2:0:-1]

    def pixels(self, seconds: float) -> NDArray[np.float32]:
        """Return the image (HEIGHT, WIDTH, 3) from 0 to 1. Videos are played back and forth."""
        return np.asarray(self._frames[round(seconds * FRAME_RATE) % len(self._frames)], np.float32)


def _presence(event: Event, seconds: float | NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the weight of an event in 0…1: 1 during the event, with a linear fade at both ends; else 0."""
    return np.clip(np.minimum(seconds - event.start, event.end - seconds) / FADE_SECONDS, 0, 1)


def _seed(camera: Camera) -> int:
    return zlib.crc32(camera.name.encode())
