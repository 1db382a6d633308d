"""Augment log-mel windows in torch: mixing, stretching, reverberation, noise, gain, masking and synthesis."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from var_plugin.encoders.lite.audio import BANDS, HOP, WINDOW_FRAMES
from var_plugin.encoders.lite.networks import log_magnitudes, magnitudes
from var_plugin.media.decoded import SAMPLE_RATE

_DECIBEL = 10 ** (1 / 20)
_TAIL_FRAMES = 40
_MAX_MASK = 12
_MIN_LOG_MEL, _MAX_LOG_MEL = -6.9, 4.0  # of synthesized log-mel values


def mix(log_mel: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Mix `other` into the windows (batch, 96, 64), 0 to 20 dB below their level.

    Returns:
        The mixtures (batch, 96, 64) and the share (batch,) of their energy that comes from the windows.
    """
    own, added = magnitudes(log_mel), magnitudes(other)
    level, other_level = (x.square().mean((1, 2), keepdim=True).sqrt() for x in (own, added))
    gain = _DECIBEL ** _uniform(log_mel, -20.0, 0.0)
    # The phases of recordings are independent, so their energies add.
    mixture = (own.square() + (added * gain * level / other_level.clamp_min(1e-6)).square()).sqrt()
    return log_magnitudes(mixture), (1 / (1 + gain.square())).flatten()


def warp(log_mel: Tensor) -> Tensor:
    """Stretch windows (batch, 96, 64) in time and in pitch by up to a quarter."""
    count = len(log_mel)
    stretch, shift = _uniform(log_mel, 0.8, 1.25).flatten(), _uniform(log_mel, 0.85, 1.18).flatten()
    change = torch.zeros(count, 2, 3)
    change[:, 0, 0], change[:, 0, 2] = 1 / shift, 1 / shift - 1
    change[:, 1, 1], change[:, 1, 2] = 1 / stretch, _uniform(log_mel, -0.1, 0.1).flatten()
    grid = F.affine_grid(change, [count, 1, WINDOW_FRAMES, BANDS], align_corners=True)
    return F.grid_sample(log_mel[:, None], grid, align_corners=True, padding_mode="border")[:, 0]


def synthesize(count: int) -> Tensor:
    """Return synthetic windows (count, 96, 64): coloured noise, steady or in beats, with gliding tones.

    They resemble hums, engines and hammering and need no recordings, because the teacher scores any window.
    """
    like = torch.empty(count, 1, 1)
    bands, seconds = torch.linspace(0, 1, BANDS), torch.arange(WINDOW_FRAMES)[:, None] * HOP / SAMPLE_RATE
    knots = torch.randint(2, 12, (count,)).tolist()
    colour = torch.stack([F.interpolate(torch.randn(1, 1, k), BANDS, mode="linear", align_corners=True) for k in knots])
    colour = colour[:, 0] * _uniform(like, 0.3, 2.5) - _uniform(like, -2.0, 5.0) * bands
    since_beat = (seconds * 10 ** _uniform(like, 0.0, 1.5) + _uniform(like, 0.0, 1.0)) % 1
    beats = -since_beat * 10 ** _uniform(like, -0.5, 1.5) + 0.5 * _uniform(like, 1e-3, 1.0).log()
    beats = torch.where(_uniform(like, 0.0, 1.0) < 0.5, beats.clamp_min(-7.0), 0.0)
    noise = torch.randn(count, WINDOW_FRAMES, BANDS) * _uniform(like, 0.1, 0.6)
    glide = _uniform(like, -3.0, 3.0) * (_uniform(like, 0.0, 1.0) < 0.5)
    tones = torch.cos(2 * torch.pi * (bands * _uniform(like, 4.0, 16.0) + seconds * glide))
    tones = tones * _uniform(like, 0.0, 1.5) * (_uniform(like, 0.0, 1.0) < 0.5)
    return (_uniform(like, -5.0, 1.0) + colour + beats + noise + tones).clamp(_MIN_LOG_MEL, _MAX_LOG_MEL)


def augment(log_mel: Tensor) -> Tensor:
    """Apply random reverberation, noise, gain, spectral tilt and masking to windows (batch, 96, 64)."""
    mel = magnitudes(log_mel)
    for change, probability in ((_reverberate, 0.3), (_add_noise, 0.4)):
        rows = torch.rand(len(mel)) < probability
        mel[rows] = change(mel[rows])
    tilt = _uniform(mel, -6.0, 6.0) * torch.linspace(-1, 1, BANDS)
    log_mel = log_magnitudes(mel * _DECIBEL ** (_uniform(mel, -20.0, 8.0) + tilt))
    silence = log_magnitudes(torch.zeros(()))
    log_mel = torch.where(_mask(mel, WINDOW_FRAMES)[:, :, None], silence, log_mel)
    return torch.where(_mask(mel, BANDS)[:, None, :], silence, log_mel)


def _reverberate(mel: Tensor) -> Tensor:
    """Convolve the energy with an exponential tail of 0.1 to 0.8 s (to -60 dB)."""
    decay = _uniform(mel, 0.1, 0.8)[:, :, 0]
    frames = torch.arange(_TAIL_FRAMES)
    tail = 10 ** (-6 * frames * 0.01 / decay)
    tail = tail / tail.sum(1, keepdim=True)
    energy = F.pad(mel.square().transpose(1, 2), (_TAIL_FRAMES - 1, 0))
    wet = (energy.unfold(2, _TAIL_FRAMES, 1) @ tail.flip(1)[:, None, :, None]).squeeze(3).transpose(1, 2)
    return (0.5 * mel.square() + 0.5 * wet).sqrt()


def _add_noise(mel: Tensor) -> Tensor:
    """Add stationary noise with a random spectral tilt, 5 to 30 dB below the window's level."""
    colour = _DECIBEL ** (_uniform(mel, -20.0, 20.0) * torch.linspace(-1, 1, BANDS))
    noise = colour * (1 + 0.25 * torch.randn_like(mel))
    level = mel.square().mean((1, 2), keepdim=True).sqrt() / noise.square().mean((1, 2), keepdim=True).sqrt()
    return (mel.square() + (noise * level * _DECIBEL ** -_uniform(mel, 5.0, 30.0)).square()).sqrt()


def _mask(like: Tensor, length: int) -> Tensor:
    """Return a mask (batch, length) that is true on one short run of positions, in half of the batch on none."""
    first = torch.rand(len(like), 1) * length
    run = torch.rand(len(like), 1) * _MAX_MASK * (torch.rand(len(like), 1) < 0.5)
    positions = torch.arange(length)
    return (positions >= first) & (positions < first + run)


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(like), 1, 1)
