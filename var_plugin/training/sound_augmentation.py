"""Other rooms, other microphones, other things sounding at the same time: changes of log-mel windows, in torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from var_plugin.encoders.lite_sound_towers import BANDS, WINDOW_FRAMES, log_magnitudes, magnitudes

_DECIBEL = 10 ** (1 / 20)
_TAIL_FRAMES = 40
_LONGEST_MASK = 12


def mix(log_mel: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Let `other` sound 0 to 20 dB below each of the windows (batch, 96, 64), both brought to the same level first.

    Returns:
        The mixture at the level of the first, and the share (batch,) of its energy that is the first's own.
    """
    own, added = magnitudes(log_mel), magnitudes(other)
    level, other_level = (x.square().mean((1, 2), keepdim=True).sqrt() for x in (own, added))
    gain = _DECIBEL ** _uniform(log_mel, -20.0, 0.0)
    # Recordings do not add in phase: energies add.
    mixture = (own.square() + (added * gain * level / other_level.clamp_min(1e-6)).square()).sqrt()
    return log_magnitudes(mixture), (1 / (1 + gain.square())).flatten()


def disturb(log_mel: Tensor) -> Tensor:
    """Change the room, the noise, the level and the timbre of windows (batch, 96, 64), and hide parts of them."""
    mel = magnitudes(log_mel)
    for change, probability in ((_reverberate, 0.3), (_add_noise, 0.4)):
        chosen = torch.rand(len(mel)) < probability
        mel[chosen] = change(mel[chosen])
    tilt = _uniform(mel, -6.0, 6.0) * torch.linspace(-1, 1, BANDS)
    log_mel = log_magnitudes(mel * _DECIBEL ** (_uniform(mel, -20.0, 8.0) + tilt))
    silence = log_magnitudes(torch.zeros(()))
    log_mel = torch.where(_mask(mel, WINDOW_FRAMES)[:, :, None], silence, log_mel)
    return torch.where(_mask(mel, BANDS)[:, None, :], silence, log_mel)


def _reverberate(mel: Tensor) -> Tensor:
    """Smear energy over time by a decaying tail, 0.1 to 0.8 s long (to -60 dB)."""
    decay = _uniform(mel, 0.1, 0.8)[:, :, 0]
    frames = torch.arange(_TAIL_FRAMES)
    tail = 10 ** (-6 * frames * 0.01 / decay)
    tail = tail / tail.sum(1, keepdim=True)
    energy = F.pad(mel.square().transpose(1, 2), (_TAIL_FRAMES - 1, 0))
    wet = (energy.unfold(2, _TAIL_FRAMES, 1) @ tail.flip(1)[:, None, :, None]).squeeze(3).transpose(1, 2)
    return (0.5 * mel.square() + 0.5 * wet).sqrt()


def _add_noise(mel: Tensor) -> Tensor:
    """Add steady noise of a random colour, 5 to 30 dB below the window's level."""
    colour = _DECIBEL ** (_uniform(mel, -20.0, 20.0) * torch.linspace(-1, 1, BANDS))
    noise = colour * (1 + 0.25 * torch.randn_like(mel))
    level = mel.square().mean((1, 2), keepdim=True).sqrt() / noise.square().mean((1, 2), keepdim=True).sqrt()
    return (mel.square() + (noise * level * _DECIBEL ** -_uniform(mel, 5.0, 30.0)).square()).sqrt()


def _mask(like: Tensor, length: int) -> Tensor:
    """Return (batch, length), true on one short run of places; for half of the batch nowhere."""
    first = torch.rand(len(like), 1) * length
    run = torch.rand(len(like), 1) * _LONGEST_MASK * (torch.rand(len(like), 1) < 0.5)
    places = torch.arange(length)
    return (places >= first) & (places < first + run)


def _uniform(like: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(len(like), 1, 1)
