"""What is computed once and kept: the features of every window of sound, as recorded and disturbed in several ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from var_plugin.encoders.backbones.yamnet import YamnetTrunk
from var_plugin.encoders.base import Sound
from var_plugin.encoders.lite_sound import LiteSoundEncoder
from var_plugin.encoders.lite_sound_towers import LogMel
from var_plugin.encoders.sound import Windows, root_mean_square
from var_plugin.errors import VarPluginError
from var_plugin.media.audio import read_audio
from var_plugin.training.sound_augmentation import disturb, mix
from var_plugin.training.sounds import Recording

LONGEST = 5.0
"""Seconds of a recording that are used."""

_VIEWS = 2
"""Disturbed versions of every window."""
_MIXED = 0.5
"""Share of them with another sound behind."""
_BATCH = 64


@dataclass(frozen=True)
class SoundFeatures:
    """Arrays for the windows of some recordings.

    Attributes:
        recording: (windows,) int64, the place of a window's recording in the list they were computed from.
        loudness: (windows,) float32, root mean square.
        features: (views, windows, 1024) float16; view 0 is as recorded.
        behind: (views, windows) int64, the window that sounds behind this one; the window itself where none does.
        share: (views, windows) float32, of the energy that is the window's own.
    """

    recording: NDArray[np.int64]
    loudness: NDArray[np.float32]
    features: NDArray[np.float16]
    behind: NDArray[np.int64]
    share: NDArray[np.float32]


def cached_features(recordings: Sequence[Recording], trunk: YamnetTrunk, file: Path) -> SoundFeatures:
    """Compute the features of the recordings, or read them from `file` if it is there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, allow_pickle=False, **_compute(recordings, trunk))
    with np.load(file) as arrays:
        return SoundFeatures(**{field.name: arrays[field.name] for field in fields(SoundFeatures)})


def joined(parts: Sequence[SoundFeatures], counts: Sequence[int]) -> SoundFeatures:
    """Return the features of several lists of so many recordings as those of one list, the first before the second."""
    recordings = np.cumsum([0, *counts])
    windows = np.cumsum([0, *(len(part.recording) for part in parts)])
    return SoundFeatures(
        recording=np.concatenate([part.recording + first for part, first in zip(parts, recordings, strict=False)]),
        loudness=np.concatenate([part.loudness for part in parts]),
        features=np.concatenate([part.features for part in parts], axis=1),
        behind=np.concatenate([part.behind + first for part, first in zip(parts, windows, strict=False)], axis=1),
        share=np.concatenate([part.share for part in parts], axis=1),
    )


def read_sound(path: Path) -> Sound | None:
    """Return the first seconds of a file, or None where it holds no sound that can be decoded."""
    try:
        sound = read_audio(path, end=LONGEST)
    except VarPluginError:
        return None
    return sound if len(sound) and np.abs(sound).max() > 0 else None


@torch.inference_mode()
def _compute(recordings: Sequence[Recording], trunk: YamnetTrunk) -> dict[str, NDArray[Any]]:
    log_mel, own, loudness = _windows(recordings)
    views = [_view(log_mel, trunk, number) for number in tqdm(range(1 + _VIEWS), desc="views")]
    return {
        "recording": own,
        "loudness": loudness,
        "features": np.stack([features for features, _, _ in views]),
        "behind": np.stack([behind for _, behind, _ in views]),
        "share": np.stack([share for _, _, share in views]),
    }


def _windows(recordings: Sequence[Recording]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.float32]]:
    """Return the log-mel of all windows, (windows, 96, 64) float16, the places of their recordings, their loudness."""
    mel = LogMel()
    found: list[Tensor] = []
    own: list[int] = []
    loudness: list[NDArray[np.float32]] = []
    for place, recording in enumerate(tqdm(recordings, desc="sounds")):
        sound = read_sound(recording.path)
        if sound is None:
            continue
        cut = Windows([sound], LiteSoundEncoder.window, LiteSoundEncoder.hop)
        samples = np.stack([window for _, window in cut])
        found.append(mel(torch.from_numpy(samples)).half())
        own += [place] * len(samples)
        loudness.append(root_mean_square(samples))
    return torch.cat(found), np.array(own), np.concatenate(loudness)


def _view(
    log_mel: Tensor, trunk: YamnetTrunk, number: int
) -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.float32]]:
    """Return features, the windows behind, and the own share of one version of all windows."""
    itself = np.arange(len(log_mel))
    if number == 0:
        clean = (trunk(part.float()) for part in torch.split(log_mel, _BATCH))
        return _joined(clean), itself, np.ones(len(log_mel), np.float32)
    torch.manual_seed(number)
    behind = torch.randperm(len(log_mel))
    behind = torch.where(torch.rand(len(log_mel)) < _MIXED, behind, torch.from_numpy(itself))
    shares: list[Tensor] = []

    def disturbed() -> Iterator[Tensor]:
        for places in torch.split(torch.from_numpy(itself), _BATCH):
            own = log_mel[places].float()
            mixture, share = mix(own, log_mel[behind[places]].float())
            mixed = behind[places] != places
            shares.append(torch.where(mixed, share, 1.0))
            yield trunk(disturb(torch.where(mixed[:, None, None], mixture, own)))

    return _joined(disturbed()), behind.numpy(), torch.cat(shares).numpy()


def _joined(parts: Iterator[Tensor]) -> NDArray[np.float16]:
    return torch.cat([part.half() for part in parts]).numpy()
