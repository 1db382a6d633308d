"""Clip features of one's own videos, as files that the benchmarks read: one `.npy` per video, named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from var_plugin.encoders.audio_features import encode_audio
from var_plugin.encoders.backbones.i3d import WIDTH, Method
from var_plugin.encoders.backbones.i3d_features import RATE, I3dClips
from var_plugin.encoders.backbones.vggish_features import VGGishWindows
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.clip_features import embed_clips
from var_plugin.encoders.suite import Suite
from var_plugin.errors import NoAudioStreamError, UnsupportedModalityError
from var_plugin.ingest.pipeline import failure
from var_plugin.media.files import find_videos
from var_plugin.media.sandbox.client import decode_audio

Report = Callable[[Path, str], None]
"""Told each video, and what went wrong with it or an empty text."""

_FEATURES = Path("{}.npy")
# As the features of UCF-Crime and XD-Violence are called; 0 is the centre crop.
_RGB, _FLOW, _SOUND = Path("rgb/{}__0.npy"), Path("flow/{}__0.npy"), Path("vggish/{}__vggish.npy")


def extract_features(videos: Path, out: Path, suite: Suite, *, rate: float, report: Report) -> int:
    """Write the clip features of every video below a folder; what is there already is left as it is.

    Args:
        videos: a folder of videos, or one.
        out: receives `<name of the video>.npy`, each (time, dim) float32, with the subfolders of `videos`.
        suite: its first space that takes video embeds the clips.
        rate: clips per second.
        report: told of each video.

    Returns:
        How many videos failed.

    Raises:
        MediaNotFoundError, NoVideosFoundError: nothing to extract from.
        UnsupportedModalityError: the suite takes no video.
    """
    encoder = suite.encoders_for("video").video_encoder
    if encoder is None:
        raise UnsupportedModalityError(f"suite '{suite.name}' has no encoder for frames", fix="choose another suite")
    extractor = encoder.extractor
    return _extract(
        videos, out, lambda video: {_FEATURES: embed_clips(video, extractor, fps=rate).vectors}, _FEATURES, report
    )


def extract_paper_features(videos: Path, out: Path, *, flow: Method | None, report: Report) -> int:
    """Write the features that the paper's models are trained on; what is there already is left as it is.

    Args:
        videos: a folder of videos, or one.
        out: receives `rgb/NAME__0.npy` and `flow/NAME__0.npy`, (time, 1024) float32 each, and for videos with sound
            `vggish/NAME__vggish.npy`, (time, 128), with the subfolders of `videos`.
        flow: how optical flow is computed; None: no Flow features.
        report: told of each video.

    Returns:
        How many videos failed.

    Raises:
        MediaNotFoundError, NoVideosFoundError: nothing to extract from.
        MissingDependencyError, MissingWeightsError: as `I3dClips` and `VGGishWindows`.
    """
    clips, windows = I3dClips(flow), VGGishWindows()

    def make(video: Path) -> dict[Path, Vectors]:
        made: dict[Path, Vectors] = {}
        with suppress(NoAudioStreamError):
            made[_SOUND] = encode_audio(decode_audio(video), windows).vectors
        seen = embed_clips(video, clips, fps=RATE).vectors
        return made | ({_FLOW: seen[:, WIDTH:]} if flow else {}) | {_RGB: seen[:, :WIDTH]}

    return _extract(videos, out, make, _RGB, report)


def _extract(
    videos: Path, out: Path, make: Callable[[Path], Mapping[Path, Vectors]], last: Path, report: Report
) -> int:
    """Write what is made of each video, in this order, unless the last of it is there; return how many failed."""
    failed = 0
    for video in find_videos(videos):
        inside = video.relative_to(videos if videos.is_dir() else videos.parent).parent

        def target(pattern: Path, video: Path = video, inside: Path = inside) -> Path:
            return out / pattern.parent / inside / pattern.name.format(video.stem)

        problem = ""
        if not target(last).exists():
            try:
                for pattern, vectors in make(video).items():
                    _write(target(pattern), vectors)
            except Exception as error:  # whatever one video raises, the others go on
                failed, problem = failed + 1, failure(video, error).reason or ""
        report(video, problem)
    return failed


def _write(target: Path, vectors: np.ndarray) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: an interrupted run goes on with the files that are missing.
    unfinished = target.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.save(file, vectors)
    unfinished.replace(target)
