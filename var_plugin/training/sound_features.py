"""What is computed once and kept: the log-mel frames of every recording, and what the teacher says of its windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from var_plugin.encoders.base import Sound
from var_plugin.encoders.lite_sound import WINDOW, cut_windows, loudness, window_starts
from var_plugin.encoders.lite_sound_towers import HOP, WINDOW_FRAMES, LogMel
from var_plugin.errors import VarPluginError
from var_plugin.media.audio import read_audio
from var_plugin.training.sounds import Recording
from var_plugin.training.yamnet import Yamnet

LONGEST = 5.0
"""Seconds of a recording that are used."""


@dataclass(frozen=True)
class SoundFeatures:
    """Arrays for the windows of some recordings; windows follow each other without overlap, but for the last ones.

    Attributes:
        frames: (frames, 64) float16 log-mel of all recordings, one after the other.
        recording: (windows,) int, the place of a window's recording in the list they were computed from.
        start: (windows,) int, the window's first row in `frames`.
        first, last: (windows,) int, the first and the last row at which a window of the same recording may start.
        loudness: (windows,) float32, root mean square.
        scores: (windows, 521) float16, the teacher's class scores.
        embeddings: (windows, 1024) float16, the teacher's embeddings.
    """

    frames: NDArray[np.float16]
    recording: NDArray[np.int64]
    start: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    loudness: NDArray[np.float32]
    scores: NDArray[np.float16]
    embeddings: NDArray[np.float16]

    def windows(self, rows: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return log-mel windows (len(rows), 96, 64), each `shift` frames later, as far as its recording allows."""
        start = np.clip(self.start[rows] + shift, self.first[rows], self.last[rows])
        return np.asarray(self.frames[start[:, None] + np.arange(WINDOW_FRAMES)], np.float32)


def cached_features(recordings: Sequence[Recording], teacher: Path, file: Path) -> SoundFeatures:
    """Compute the features of the recordings, or read them from `file` if it is there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, allow_pickle=False, **_compute(recordings, Yamnet(teacher)))
    with np.load(file) as arrays:
        return SoundFeatures(**{field.name: arrays[field.name] for field in fields(SoundFeatures)})


def read_sound(path: Path) -> Sound | None:
    """Return the first seconds of a file, or None where it holds no sound that can be decoded."""
    try:
        sound = read_audio(path, end=LONGEST)
    except VarPluginError:
        return None
    return sound if len(sound) and np.abs(sound).max() > 0 else None


def _compute(recordings: Sequence[Recording], teacher: Yamnet) -> dict[str, NDArray[Any]]:
    log_mel = LogMel()
    rows: dict[str, list[NDArray[Any]]] = {field.name: [] for field in fields(SoundFeatures)}
    total = 0
    for place, recording in enumerate(tqdm(recordings, desc="sounds")):
        sound = read_sound(recording.path)
        if sound is None:
            continue
        sound = np.pad(sound, (0, max(0, WINDOW - len(sound))))
        frames = log_mel(torch.from_numpy(sound)).numpy().astype(np.float16)
        starts = window_starts(len(sound), hop=WINDOW_FRAMES * HOP)
        windows = cut_windows(sound, starts)
        judged = [teacher(window) for window in windows]
        count = len(starts)
        rows["frames"].append(frames)
        rows["recording"].append(np.full(count, place))
        rows["start"].append(total + starts // HOP)
        rows["first"].append(np.full(count, total))
        rows["last"].append(np.full(count, total + len(frames) - WINDOW_FRAMES))
        rows["loudness"].append(loudness(windows))
        rows["scores"].append(np.array([scores for scores, _ in judged], np.float16))
        rows["embeddings"].append(np.array([embedding for _, embedding in judged], np.float16))
        total += len(frames)
    return {name: np.concatenate(parts) for name, parts in rows.items()}
