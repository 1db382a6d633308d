"""Compute and cache the log-mel windows of recordings, in several views, and the teacher's features of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from recipes.lite.audio_augmentation import augment, mix
from recipes.lite.audio_sources import Recording
from recipes.lite.yamnet import WIDTH, YamnetTrunk
from var_plugin.encoders.audio_features import Windows, root_mean_square
from var_plugin.encoders.base import AudioArray
from var_plugin.encoders.lite.audio import LiteAudioEncoder
from var_plugin.encoders.lite.networks import AudioCNN, LogMel
from var_plugin.errors import VarPluginError
from var_plugin.media.audio import read_audio

MAX_SECONDS = 5.0
"""Seconds of a recording of a collection that are used."""
_MAX_EFFECT_SECONDS = 20.0
"""Seconds of a sound effect that are used: ambiences and music change over time."""
_EFFECT_COLLECTIONS = ("named", "effects")

_AUGMENTED_VIEWS = 2
_MIX_PROBABILITY = 0.5
_BATCH = 64


@dataclass(frozen=True)
class WindowFeatures:
    """Arrays for the windows of some recordings.

    Attributes:
        recording: (windows,) int64, position of the window's recording in the list that was read.
        loudness: (windows,) float32, root mean square.
        log_mel: (views, windows, 96, 64) float16; view 0 is unmodified.
        features: (windows, 1024) float16, the teacher's features of view 0.
        mixup_index: (views, windows) int64, the window that is mixed in; the window itself if none is.
        mixup_weight: (views, windows) float32, share of the energy that is the window's own.
    """

    recording: NDArray[np.int64]
    loudness: NDArray[np.float32]
    log_mel: NDArray[np.float16]
    features: NDArray[np.float16]
    mixup_index: NDArray[np.int64]
    mixup_weight: NDArray[np.float32]


_FILES = {
    "recording": "recording.npy", "loudness": "loudness.npy", "log_mel": "log_mel.npy", "features": "features.npy",
    "mixup_index": "behind.npy", "mixup_weight": "share.npy",
}  # fmt: skip
"""File in the cache folder by attribute of `WindowFeatures`."""


def cached_features(recordings: Sequence[Recording], trunk: YamnetTrunk, folder: Path) -> WindowFeatures:
    """Return the features of the recordings, memory-mapped from `folder`; compute them if it does not exist."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            _compute(recordings, trunk, Path(unfinished))
            Path(unfinished).rename(folder)
    return WindowFeatures(**{name: np.load(folder / file, mmap_mode="r") for name, file in _FILES.items()})


@torch.inference_mode()
def encode_windows(network: AudioCNN, features: WindowFeatures) -> NDArray[np.float16]:
    """Return the network's embeddings of every view of every window, (views, windows, 1024)."""
    embeddings = np.zeros((*features.log_mel.shape[:2], WIDTH), np.float16)
    for view, windows in enumerate(features.log_mel):
        for start in range(0, len(windows), _BATCH):
            batch = torch.from_numpy(windows[start : start + _BATCH].astype(np.float32))
            embeddings[view, start : start + _BATCH] = network(batch).numpy()
    return embeddings


def read_waveform(path: Path, max_seconds: float = MAX_SECONDS) -> AudioArray | None:
    """Return the first seconds of a file, or None if it has no decodable audio or only digital silence."""
    try:
        waveform = read_audio(path, end=max_seconds)
    except VarPluginError:
        return None
    return waveform if len(waveform) and np.abs(waveform).max() > 0 else None


@torch.inference_mode()
def _compute(recordings: Sequence[Recording], trunk: YamnetTrunk, folder: Path) -> None:
    """Write one array per attribute of `WindowFeatures`, view by view."""
    windows, owners, loudness = _windows(recordings)
    count = len(windows)
    np.save(folder / _FILES["recording"], owners)
    np.save(folder / _FILES["loudness"], loudness)
    log_mel = _create(folder / _FILES["log_mel"], np.float16, (1 + _AUGMENTED_VIEWS, *windows.shape))
    features = _create(folder / _FILES["features"], np.float16, (count, WIDTH))
    mixup_index = _create(folder / _FILES["mixup_index"], np.int64, (1 + _AUGMENTED_VIEWS, count))
    mixup_weight = _create(folder / _FILES["mixup_weight"], np.float32, (1 + _AUGMENTED_VIEWS, count))
    for view in tqdm(range(1 + _AUGMENTED_VIEWS), desc="views"):
        torch.manual_seed(view)
        mixup_index[view] = _mixup_partners(count) if view else np.arange(count)
        for rows in np.array_split(np.arange(count), -(-count // _BATCH)):
            originals, partners = windows[rows].float(), mixup_index[view, rows]
            mixed, mixup_weight[view, rows] = _mix_some(originals, windows[partners].float(), partners != rows)
            result = augment(mixed) if view else originals
            log_mel[view, rows] = result.numpy()
            if not view:
                features[rows] = trunk(result).numpy()


def _create(file: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a memory-mapped array, so that it need not fit into memory."""
    return np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)


def _mixup_partners(count: int) -> NDArray[np.int64]:
    """Return a random partner (count,) for each window, or the window itself where nothing is mixed in."""
    itself = torch.arange(count)
    partners: NDArray[np.int64] = torch.where(
        torch.rand(count) < _MIX_PROBABILITY, torch.randperm(count), itself
    ).numpy()
    return partners


def _mix_some(windows: Tensor, partners: Tensor, mixed: NDArray[np.bool_]) -> tuple[Tensor, NDArray[np.float32]]:
    """Mix the partners into the windows where `mixed` is true.

    Returns:
        The windows (batch, 96, 64) and the share (batch,) of their energy that is their own.
    """
    mixture, share = mix(windows, partners)
    mask = torch.from_numpy(mixed)
    result = torch.where(mask[:, None, None], mixture, windows)
    return result, np.asarray(torch.where(mask, share, 1.0).numpy(), np.float32)


def _windows(recordings: Sequence[Recording]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.float32]]:
    """Cut all recordings into windows.

    Returns:
        The log-mel windows (windows, 96, 64) float16, the position of each one's recording, and their loudness.
    """
    mel = LogMel()
    log_mel: list[Tensor] = []
    owners: list[int] = []
    loudness: list[NDArray[np.float32]] = []
    for position, recording in enumerate(tqdm(recordings, desc="recordings")):
        limit = _MAX_EFFECT_SECONDS if recording.collection in _EFFECT_COLLECTIONS else MAX_SECONDS
        waveform = read_waveform(recording.path, limit)
        if waveform is None:
            continue
        samples = np.stack([part for _, part in Windows([waveform], LiteAudioEncoder.window, LiteAudioEncoder.hop)])
        log_mel.append(mel(torch.from_numpy(samples)).half())
        owners += [position] * len(samples)
        loudness.append(root_mean_square(samples))
    return torch.cat(log_mel), np.array(owners), np.concatenate(loudness)
