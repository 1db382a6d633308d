"""Recordings of noise, and films with given audio."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from var_plugin.media.decoded import SAMPLE_RATE

WINDOW = 8 * SAMPLE_RATE


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def padded(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(audio, (0, WINDOW - len(audio)))[None]


def with_audio(source: Path, target: Path, samples: NDArray[np.float32]) -> Path:
    """Copy the images of a film and add mono audio at 16 kHz, without loss."""
    with av.open(str(source)) as film, av.open(str(target), "w") as container:
        video = container.add_stream_from_template(film.streams.video[0])
        audio = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for packet in film.demux(film.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        pcm = np.rint(samples * 32_767).astype(np.int16)[None]
        for start in range(0, pcm.shape[1], 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[:, start : start + 1024]), "s16", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return target
