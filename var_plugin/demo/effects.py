"""Rendered events of the demo: flames, smoke, a person cut out of a photograph, and synthetic sounds.

Flames and smoke are scrolling noise inside a moving shape. Nothing here was adjusted to what the models recognise.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from var_plugin.demo.script import Area, Cutout, Flames, Smoke, Sound
from var_plugin.demo.sources import locate

Pixels = NDArray[np.float32]
"""(height, width, 3) from 0 to 1."""

_NOISE_SIZE = 256
_OCTAVES = ((4, 1.0), (8, 0.6), (16, 0.35), (32, 0.2))
"""Cells per side of the noise, and their weight."""
_FLAME_SPEEDS = (90.0, 150.0)
"""Rows of noise per second."""
_SMOKE_SPEED = 28.0
_SMOKE_RISES_SECONDS = 4.0


@cache
def noise(seed: int) -> NDArray[np.float32]:
    """Return fractal noise (256, 256) from 0 to 1 that continues at opposite edges."""
    random, total = np.random.default_rng(seed), np.zeros((_NOISE_SIZE, _NOISE_SIZE), np.float32)
    for cells, weight in _OCTAVES:
        tiled = np.tile(random.random((cells, cells), np.float32), (3, 3))
        image = Image.fromarray(tiled).resize((3 * _NOISE_SIZE, 3 * _NOISE_SIZE), Image.Resampling.BICUBIC)
        total += weight * np.asarray(image)[_NOISE_SIZE : 2 * _NOISE_SIZE, _NOISE_SIZE : 2 * _NOISE_SIZE]
    return np.asarray((total - total.min()) / (total.max() - total.min()), np.float32)


def draw_flames(frame: Pixels, flames: Flames, seconds: float) -> None:
    """Add flames and their light to a frame."""
    rows, columns, across, up = _coordinates(frame, flames)
    first, second = (
        _sample(noise(seed), up, across, seconds * speed) for seed, speed in zip((1, 2), _FLAME_SPEEDS, strict=True)
    )
    sway = (second - 0.5) * 0.9 * up
    shape = 1 - np.abs(across + sway) / np.maximum(0.95 * (1 - up) ** 0.8, 0.02)
    base = np.clip(up / 0.12 + 0.4 * second - across**2, 0, 1)
    heat = base * np.clip(1.5 * shape + 1.7 * (first - 0.5) * (0.35 + up) - 0.55 * up, 0, 1)
    colour = np.clip(np.stack([2.4 * heat, 2.1 * heat - 0.65, 2.6 * heat - 1.75], axis=-1), 0, 1)
    flicker = 0.8 + 0.2 * float(noise(3)[int(seconds * 40) % _NOISE_SIZE, 0])
    frame *= 1 + flicker * _light(frame.shape, flames)[..., None] * np.array([1.0, 0.55, 0.15], np.float32)
    area = frame[rows, columns]
    area[...] = 1 - (1 - np.clip(area, 0, 1)) * (1 - colour.astype(np.float32))


def draw_smoke(frame: Pixels, smoke: Smoke, seconds: float) -> None:
    """Cover a part of a frame with smoke that rises from its lower edge."""
    rows, columns, across, up = _coordinates(frame, smoke)
    first = _sample(noise(4), up, across, seconds * _SMOKE_SPEED)
    second = _sample(noise(5), up, across, seconds * _SMOKE_SPEED * 0.6)
    centre = 0.35 * up + 0.25 * (second - 0.5) * up
    plume = np.exp(-(((across - centre) / (0.16 + 0.5 * up)) ** 2))
    reached = np.clip(4 * (min(1.0, seconds / _SMOKE_RISES_SECONDS) * 1.25 - up), 0, 1)
    faded = np.clip(5 - 5 * np.abs(across), 0, 1) * np.clip(5 - 5 * up, 0, 1) * np.clip(8 * up, 0, 1)
    density = np.clip(plume * reached * faded * (2.0 * first + 0.8) * (1 - 0.3 * up), 0, 0.97)[..., None]
    shade = (smoke.shade * (0.75 + 0.5 * second))[..., None]
    area = frame[rows, columns]
    area[...] = area * (1 - density) + shade * density


def draw_cutout(frame: Pixels, cutout: Cutout) -> None:
    """Put a person that was cut out of a photograph into a frame."""
    layer = _layer(cutout, frame.shape[1], frame.shape[0])
    frame[...] = frame * (1 - layer[..., 3:]) + layer[..., :3] * layer[..., 3:]


def synthesize(sound: Sound, seconds: float, rate: int) -> NDArray[np.float32]:
    """Return a synthetic sound as (samples,) from -1 to 1."""
    time = np.arange(round(seconds * rate), dtype=np.float32) / rate
    random = np.random.default_rng(0)
    hiss = random.normal(0, 1, len(time)).astype(np.float32)
    if sound == "siren":  # a wail between 600 and 1,400 Hz
        phase = 2 * np.pi * np.cumsum(1_000 - 400 * np.cos(2 * np.pi * time / 4)) / rate
        return np.asarray(0.25 * np.sin(phase) + 0.12 * np.sin(3 * phase), np.float32)
    if sound == "gun shots":  # a burst of noise that fades, and its echo
        track = np.zeros(len(time), np.float32)
        for start in np.arange(0.4, seconds - 0.8, 1.1):
            for delay, level in ((0.0, 0.9), (0.18, 0.2)):
                since = time - start - delay
                track += np.where(since >= 0, level * np.exp(-since / 0.06), 0) * hiss
        return np.asarray(np.clip(track, -1, 1), np.float32)
    crackles = np.where(random.random(len(time)) < 12 / rate, random.normal(0, 1.0, len(time)), 0)  # a fire
    decay = np.exp(-np.arange(round(0.01 * rate)) / (0.002 * rate))
    rumble = np.convolve(hiss, np.ones(40) / 40, "same")
    return np.asarray(np.clip(np.convolve(crackles, decay, "same") * 0.6 + rumble * 0.12, -1, 1), np.float32)


def _coordinates(frame: Pixels, area: Area) -> tuple[slice, slice, NDArray[np.float32], NDArray[np.float32]]:
    """Return rows and columns of an area, as far as it is inside the frame, and their coordinates.

    Coordinates are -1 to 1 across, as (1, columns), and 0 to 1 upwards, as (rows, 1).
    """
    rows, columns = frame.shape[:2]
    left = max(0, round((area.x - area.width / 2) * columns))
    right = min(columns, round((area.x + area.width / 2) * columns))
    top, bottom = max(0, round((area.y - area.height) * rows)), min(rows, round(area.y * rows))
    across = ((np.arange(left, right) / columns - area.x) / (area.width / 2)).astype(np.float32)
    up = ((area.y * rows - 1 - np.arange(top, bottom)) / (area.height * rows)).astype(np.float32)
    return slice(top, bottom), slice(left, right), across[None, :], up[:, None]


def _sample(
    texture: NDArray[np.float32], up: NDArray[np.float32], across: NDArray[np.float32], scrolled: float
) -> NDArray[np.float32]:
    """Return the noise at coordinates, scrolled upwards."""
    row = (((1 - up) * _NOISE_SIZE / 2).astype(int) + int(scrolled)) % _NOISE_SIZE
    column = ((across + 1) * _NOISE_SIZE / 4).astype(int) % _NOISE_SIZE
    return np.asarray(texture[row, column])


def _light(shape: tuple[int, ...], flames: Flames) -> NDArray[np.float32]:
    """Return how much the flames light each pixel (height, width)."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    distance = ((x / shape[1] - flames.x) / (1.6 * flames.width)) ** 2
    distance += ((y / shape[0] - flames.y + flames.height / 3) / (1.2 * flames.height)) ** 2
    return np.asarray(flames.light * np.exp(-distance), np.float32)


@cache
def _layer(cutout: Cutout, width: int, height: int) -> NDArray[np.float32]:
    """Return the person at its place in a transparent frame, (height, width, 4): colour and opacity from 0 to 1."""
    with Image.open(locate(cutout.media)) as photograph:
        image = photograph.convert("RGB")
    mask = Image.new("L", image.size, 0)
    ImageDraw.Draw(mask).polygon(cutout.outline, fill=255)
    image.putalpha(mask.filter(ImageFilter.GaussianBlur(1.5)))
    image = image.crop(mask.getbbox()).rotate(cutout.angle, expand=True, resample=Image.Resampling.BICUBIC)
    scale = cutout.width * width / image.width
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    layer = Image.new("RGBA", (width, height))
    layer.paste(image, (round(cutout.x * width), round(cutout.y * height) - image.height))
    return np.asarray(np.asarray(layer) / 255, np.float32)
