from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from var_plugin.demo.effects import draw_cutout, draw_flames, draw_smoke, noise, synthesize
from var_plugin.demo.script import CAMERAS, Cutout, Flames, Smoke, Sound

RATE = 16_000


def grey() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.full((90, 160, 3), 0.4, np.float32)


def test_noise_continues_at_opposite_edges() -> None:
    texture = noise(1)
    inside = np.abs(np.diff(texture, axis=0)).max()
    assert np.abs(texture[0] - texture[-1]).max() <= 1.5 * inside
    assert (texture.min(), texture.max()) == (0, 1)


def test_flames_are_bright_and_reddish_and_light_their_surroundings() -> None:
    frame = grey()
    draw_flames(frame, Flames(0.5, 1.0, 0.4, 0.8), 1.0)
    core = frame[70:85, 70:90]
    assert core[..., 0].mean() > 0.9
    assert core[..., 0].mean() > core[..., 2].mean() + 0.1
    assert frame[60, 130, 0] > 0.41
    assert np.isfinite(frame).all()


def test_flames_move() -> None:
    first, later = grey(), grey()
    draw_flames(first, Flames(0.5, 1.0, 0.4, 0.8), 1.0)
    draw_flames(later, Flames(0.5, 1.0, 0.4, 0.8), 1.5)
    assert np.abs(first - later).mean() > 0.01


def test_smoke_rises_and_covers_what_is_behind() -> None:
    early, late = grey(), grey()
    for frame, seconds in ((early, 1.0), (late, 8.0)):
        draw_smoke(frame, Smoke(0.5, 0.9, 0.8, 0.8, 0.9), seconds)
    assert np.abs(early[:40] - 0.4).max() < 0.01 < np.abs(late[:40] - 0.4).max()
    assert late[55:70, 75:85].mean() > 0.6


@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
def test_effects_may_exceed_the_frame(x: float) -> None:
    frame = grey()
    draw_flames(frame, Flames(x, 1.2, 0.6, 1.5), 1.0)
    draw_smoke(frame, Smoke(x, 1.2, 1.6, 1.5, 0.2), 5.0)
    assert np.isfinite(frame).all()


def test_a_cutout_covers_a_part_of_the_frame() -> None:
    (cutout,) = (
        effect
        for camera in CAMERAS
        for event in camera.events
        for effect in event.effects
        if isinstance(effect, Cutout)
    )
    frame = np.ones((270, 480, 3), np.float32)
    draw_cutout(frame, cutout)
    assert 0.05 < (frame.mean(axis=2) < 0.3).mean() < 0.3
    assert (frame[:90] == 1).all()


@pytest.mark.parametrize("sound", get_args(Sound))
def test_a_sound_has_the_length_and_is_audible(sound: Sound) -> None:
    samples = synthesize(sound, 4.0, RATE)
    assert samples.shape == (4 * RATE,)
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 1
    assert np.sqrt(np.mean(samples**2)) > 0.02


def test_a_siren_changes_its_pitch() -> None:
    spectra = [np.abs(np.fft.rfft(part)) for part in np.split(synthesize("siren", 4.0, RATE), 8)]
    peaks = [int(spectrum.argmax()) * RATE / (RATE // 2) for spectrum in spectra]
    assert max(peaks) > 1.5 * min(peaks)
