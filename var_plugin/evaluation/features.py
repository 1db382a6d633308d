"""Extract clip features of own videos to files that the benchmarks read: one `.npy` per video, named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from var_plugin.config import ModelOptions
from var_plugin.encoders.audio_features import encode_audio
from var_plugin.encoders.backbones.i3d import WIDTH, FlowMethod
from var_plugin.encoders.backbones.i3d_features import RATE, I3dFeatures
from var_plugin.encoders.backbones.vggish_features import VGGishFeatures
from var_plugin.encoders.base import Vectors
from var_plugin.encoders.clip_features import embed_clips
from var_plugin.encoders.suite import Suite
from var_plugin.errors import NoAudioStreamError, UnsupportedModalityError
from var_plugin.ingest.pipeline import failure
from var_plugin.media.files import find_videos
from var_plugin.media.sandbox.client import decode_audio

Report = Callable[[Path, str], None]
"""Called for each video with an error message, or an empty string."""

_FEATURES = Path("{}.npy")
# File names of the features of UCF-Crime and XD-Violence. 0 is the centre crop.
_RGB, _FLOW, _AUDIO = Path("rgb/{}__0.npy"), Path("flow/{}__0.npy"), Path("vggish/{}__vggish.npy")


def extract_features(videos: Path, out: Path, suite: Suite, *, rate: float, report: Report) -> int:
    """Write the clip features of every video below a folder. Existing files are kept.

    Args:
        videos: a folder of videos, or one video.
        out: folder for `<name of the video>.npy`, each (time, dim) float32, with the subfolders of `videos`.
        suite: its first space that takes video embeds the clips.
        rate: clips per second.
        report: called for each video.

    Returns:
        The number of videos that failed.

    Raises:
        MediaNotFoundError, NoVideosFoundError: there are no videos.
        UnsupportedModalityError: the suite takes no video.
    """
    encoder = suite.encoders_for("video").video_encoder
    if encoder is None:
        raise UnsupportedModalityError(
            f"suite '{suite.name}' cannot encode video frames",
            fix="choose a suite for images or video (list them: var-plugin suites)",
        )
    extractor = encoder.extractor
    return _extract(
        videos, out, lambda video: {_FEATURES: embed_clips(video, extractor, fps=rate).vectors}, _FEATURES, report
    )


def extract_paper_features(
    videos: Path, out: Path, *, flow: FlowMethod | None, options: ModelOptions, report: Report
) -> int:
    """Write the features that the models of the paper are trained on. Existing files are kept.

    Args:
        videos: a folder of videos, or one video.
        out: folder for `rgb/NAME__0.npy` and `flow/NAME__0.npy`, (time, 1024) float32 each, and, for videos with audio,
            `vggish/NAME__vggish.npy`, (time, 128), with the subfolders of `videos`.
        flow: optical flow method. None: no Flow features.
        options: where the networks are, and how they run.
        report: called for each video.

    Returns:
        The number of videos that failed.

    Raises:
        MediaNotFoundError, NoVideosFoundError: there are no videos.
        MissingDependencyError, MissingWeightsError: see `I3dFeatures` and `VGGishFeatures`.
    """
    clips, windows = I3dFeatures(flow, options), VGGishFeatures(options)

    def extract(video: Path) -> dict[Path, Vectors]:
        features: dict[Path, Vectors] = {}
        with suppress(NoAudioStreamError):
            features[_AUDIO] = encode_audio(decode_audio(video), windows).vectors
        visual = embed_clips(video, clips, fps=RATE).vectors
        return features | ({_FLOW: visual[:, WIDTH:]} if flow else {}) | {_RGB: visual[:, :WIDTH]}

    return _extract(videos, out, extract, _RGB, report)


def _extract(
    videos: Path, out: Path, extract: Callable[[Path], Mapping[Path, Vectors]], last: Path, report: Report
) -> int:
    """Write the features of each video. Skip videos whose last file exists. Return the number of failed videos."""
    failed = 0
    files: dict[Path, Path] = {}
    for video in find_videos(videos):
        subfolder = video.relative_to(videos if videos.is_dir() else videos.parent).parent

        def target(pattern: Path, video: Path = video, subfolder: Path = subfolder) -> Path:
            return out / pattern.parent / subfolder / pattern.name.format(video.stem)

        problem = ""
        other = files.setdefault(target(last), video)
        if other != video:
            failed, problem = failed + 1, f"{other.name} has the same name up to its ending; rename one of them"
        elif not target(last).exists():
            try:
                for pattern, vectors in extract(video).items():
                    _write(target(pattern), vectors)
            except Exception as error:  # an error of one video does not stop the others
                failed, problem = failed + 1, failure(video, error).reason or ""
        report(video, problem)
    return failed


def _write(target: Path, vectors: np.ndarray) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Atomic, so that an interrupted run resumes with the missing files.
    unfinished = target.with_suffix(".part")
    with unfinished.open("wb") as file:
        np.save(file, vectors)
    unfinished.replace(target)
