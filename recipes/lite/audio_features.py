"""What is computed once and kept: windows of sound, as recorded and disturbed, and the teacher's features of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from recipes.lite.audio_augmentation import disturb, mix
from recipes.lite.audio_sources import Recording
from recipes.lite.yamnet import WIDTH, YamnetTrunk
from var_plugin.encoders.audio_features import Windows, root_mean_square
from var_plugin.encoders.base import AudioArray
from var_plugin.encoders.lite.audio import LiteAudioEncoder
from var_plugin.encoders.lite.networks import AudioCNN, LogMel
from var_plugin.errors import VarPluginError
from var_plugin.media.audio import read_audio

LONGEST = 5.0
"""Seconds of a recording of a collection that are used."""
_LONGEST_EFFECT = 20.0
"""Of a sound effect: places and pieces of music change as they go on."""
_EFFECTS = ("named", "effects")

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
        log_mel: (views, windows, 96, 64) float16; view 0 is as recorded.
        features: (windows, 1024) float16, the teacher's of view 0.
        behind: (views, windows) int64, the window that sounds behind this one; the window itself where none does.
        share: (views, windows) float32, of the energy that is the window's own.
    """

    recording: NDArray[np.int64]
    loudness: NDArray[np.float32]
    log_mel: NDArray[np.float16]
    features: NDArray[np.float16]
    behind: NDArray[np.int64]
    share: NDArray[np.float32]


def cached_features(recordings: Sequence[Recording], trunk: YamnetTrunk, folder: Path) -> SoundFeatures:
    """Compute the features of the recordings into `folder`, or open what is there; nothing is held in memory."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            _compute(recordings, trunk, Path(unfinished))
            Path(unfinished).rename(folder)
    names = [field.name for field in fields(SoundFeatures)]
    return SoundFeatures(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})


@torch.inference_mode()
def hear(network: AudioCNN, features: SoundFeatures) -> NDArray[np.float16]:
    """Return what the network makes of every view of every window, (views, windows, 1024)."""
    heard = np.zeros((*features.log_mel.shape[:2], WIDTH), np.float16)
    for view, windows in enumerate(features.log_mel):
        for start in range(0, len(windows), _BATCH):
            batch = torch.from_numpy(windows[start : start + _BATCH].astype(np.float32))
            heard[view, start : start + _BATCH] = network(batch).numpy()
    return heard


def read_sound(path: Path, longest: float = LONGEST) -> AudioArray | None:
    """Return the first seconds of a file, or None where it holds no sound that can be decoded."""
    try:
        sound = read_audio(path, end=longest)
    except VarPluginError:
        return None
    return sound if len(sound) and np.abs(sound).max() > 0 else None


@torch.inference_mode()
def _compute(recordings: Sequence[Recording], trunk: YamnetTrunk, folder: Path) -> None:
    """Write one array per attribute of `SoundFeatures`, view by view."""
    windows, own, loudness = _windows(recordings)
    count = len(windows)
    np.save(folder / "recording.npy", own)
    np.save(folder / "loudness.npy", loudness)
    log_mel = _create(folder / "log_mel.npy", np.float16, (1 + _VIEWS, *windows.shape))
    features = _create(folder / "features.npy", np.float16, (count, WIDTH))
    behind = _create(folder / "behind.npy", np.int64, (1 + _VIEWS, count))
    share = _create(folder / "share.npy", np.float32, (1 + _VIEWS, count))
    for number in tqdm(range(1 + _VIEWS), desc="views"):
        torch.manual_seed(number)
        behind[number] = _neighbours(count) if number else np.arange(count)
        for places in np.array_split(np.arange(count), -(-count // _BATCH)):
            own_sound, other = windows[places].float(), behind[number, places]
            view, share[number, places] = _view(own_sound, windows[other].float(), other != places)
            heard = disturb(view) if number else own_sound
            log_mel[number, places] = heard.numpy()
            if not number:
                features[places] = trunk(heard).numpy()


def _create(file: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array that lies in the file, so that it need not fit into memory."""
    return np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)


def _neighbours(count: int) -> NDArray[np.int64]:
    """Return for each of so many windows another one to sound behind it, or itself."""
    itself = torch.arange(count)
    behind: NDArray[np.int64] = torch.where(torch.rand(count) < _MIXED, torch.randperm(count), itself).numpy()
    return behind


def _view(own: Tensor, other: Tensor, mixed: NDArray[np.bool_]) -> tuple[Tensor, NDArray[np.float32]]:
    """Return windows, some of them with the other behind, and the share of the energy that is their own."""
    mixture, share = mix(own, other)
    chosen = torch.from_numpy(mixed)
    found = torch.where(chosen[:, None, None], mixture, own)
    return found, np.asarray(torch.where(chosen, share, 1.0).numpy(), np.float32)


def _windows(recordings: Sequence[Recording]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.float32]]:
    """Return the log-mel of all windows, (windows, 96, 64) float16, the places of their recordings, their loudness."""
    mel = LogMel()
    found: list[Tensor] = []
    own: list[int] = []
    loudness: list[NDArray[np.float32]] = []
    for place, recording in enumerate(tqdm(recordings, desc="sounds")):
        sound = read_sound(recording.path, _LONGEST_EFFECT if recording.collection in _EFFECTS else LONGEST)
        if sound is None:
            continue
        cut = Windows([sound], LiteAudioEncoder.window, LiteAudioEncoder.hop)
        samples = np.stack([window for _, window in cut])
        found.append(mel(torch.from_numpy(samples)).half())
        own += [place] * len(samples)
        loudness.append(root_mean_square(samples))
    return torch.cat(found), np.array(own), np.concatenate(loudness)
