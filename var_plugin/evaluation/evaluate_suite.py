"""A suite on captioned videos: which video, and which moment of it, its vectors find for a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import require
from var_plugin.encoders.anomaly import score_clips
from var_plugin.encoders.base import Vectors, VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.evaluation import segments
from var_plugin.evaluation.captions import Captioned
from var_plugin.evaluation.clip_cache import evenly, video_encoder
from var_plugin.evaluation.metrics import Retrieval, chance_among, from_ranks, ranks
from var_plugin.types import Modality

ZERO_SHOT, TRAINED, CHANCE, CEILING = "zero-shot", "trained", "Chance, expected", "Perfect order of the same spans"


@dataclass(frozen=True)
class Measured:
    """One line of an answer: videos found, or moments found."""

    method: str
    videos: Retrieval | None = None
    moments: segments.Moments | None = None


def measure(
    suite: Suite,
    examples: Sequence[Captioned],
    clips: Callable[[Suite], Mapping[Path, ClipFeatures]],
    *,
    frames: int | None = None,
    resamples: int = 2000,
) -> list[Measured]:
    """Measure a suite, and the one that it was made from, beside chance.

    Captions with times are to find moments, captions without are to find videos; examples of both kinds together give
    lines of both.

    Args:
        suite: what is measured.
        examples: videos and their queries.
        clips: from a suite to the clips of all videos.
        frames: so many clips of a video at even distances make its vector, as published zero-shot protocols have it (12
            in CLIP4Clip's); None: all.
        resamples: of the bootstrap; 0 for no intervals.

    Raises:
        InvalidInputError: there is nothing to measure.
        UnsupportedModalityError: no space of the suite takes video and the queries.
        MissingDependencyError: scipy is not installed.
    """
    require("train", "scipy")
    if not examples:
        raise InvalidInputError("there is nothing to measure", fix="give at least one video with a caption")
    suite = _narrowed(suite, "audio" if examples[0].caption is None else "text")
    whole = [one for one in examples if one.span is None]
    timed = [one for one in examples if one.span is not None]
    suites = [(ZERO_SHOT, suite.base), (TRAINED, suite)] if suite.base else [(ZERO_SHOT, suite)]
    measured = []
    if whole:
        relevant = _relevant(whole)
        measured.append(Measured(CHANCE, videos=chance_among(relevant)))
        for method, one in suites:
            seen = {video: evenly(seen, frames) if frames else seen for video, seen in clips(one).items()}
            scores = _video_scores(one, whole, seen)
            forward, backward = ranks(scores, relevant), ranks(scores.T, relevant.T)
            measured.append(
                Measured(f"{one.name}, {method}", videos=from_ranks(forward, backward, resamples=resamples))
            )
    if timed:
        measured += _moments(suites, timed, clips, resamples)
    return measured


def _moments(
    suites: Sequence[tuple[str, Suite]],
    examples: Sequence[Captioned],
    clips: Callable[[Suite], Mapping[Path, ClipFeatures]],
    resamples: int,
) -> list[Measured]:
    measured: list[Measured] = []
    for method, suite in suites:
        seen = clips(suite)
        shown = {video: seen[video] for video in dict.fromkeys(one.video for one in examples)}
        spans = segments.cut(shown, video_encoder(suite))
        wanted = segments.numbered([one.video for one in examples], shown, [one.span for one in examples if one.span])
        if not measured:  # these two depend on times alone
            for name, answers in ((CHANCE, segments.chance(wanted, spans)), (CEILING, segments.ceiling(wanted, spans))):
                measured.append(Measured(name, moments=segments.summary(answers, wanted)))
        hits = segments.found(_queries(suite, examples), wanted, spans)
        moments = segments.summary(hits, wanted, resamples=resamples)
        measured.append(Measured(f"{suite.name}, {method}", moments=moments))
    return measured


def video_vector(clips: ClipFeatures, encoder: VideoEncoder) -> Vectors:
    """Return the vector (dim,) of a whole video, as an index would hold it."""
    return encoder.embed_video(clips.vectors, score_clips(clips, encoder).score)


def _video_scores(
    suite: Suite, examples: Sequence[Captioned], clips: Mapping[Path, ClipFeatures]
) -> NDArray[np.float32]:
    """Return (queries, videos), the videos in order of their first query."""
    encoder = video_encoder(suite)
    videos = np.stack([video_vector(clips[video], encoder) for video in dict.fromkeys(one.video for one in examples)])
    scores: NDArray[np.float32] = _queries(suite, examples) @ videos.T
    return scores


def _queries(suite: Suite, examples: Sequence[Captioned]) -> Vectors:
    space = next(iter(suite.encoders))
    captions = [one.caption for one in examples if one.caption is not None]
    if captions:
        return suite.encode("text", captions, space=space)
    return suite.encode("audio", [one.video for one in examples], space=space)


def _narrowed(suite: Suite, query: Modality) -> Suite:
    """Return the suite, and the one that it was made from, with nothing but spaces that take video and such queries."""
    fitting = {name: one for name, one in suite.encoders.items() if {"video", query} <= one.space.modalities}
    if fitting:
        return Suite(suite.description, fitting, base=suite.base and _narrowed(suite.base, query))
    offered = "; ".join(f"{name}: {', '.join(sorted(space.modalities))}" for name, space in suite.spaces.items())
    raise UnsupportedModalityError(
        f"suite '{suite.name}' cannot find videos by {query}",
        why=f"it has no space for both: {offered}",
        fix="choose a suite with a space for both, such as alan-i3d",
    )


def _relevant(examples: Sequence[Captioned]) -> NDArray[np.bool_]:
    """Return (queries, videos): strictly, a query's own video."""
    videos = {video: number for number, video in enumerate(dict.fromkeys(one.video for one in examples))}
    relevant = np.zeros((len(examples), len(videos)), bool)
    relevant[np.arange(len(examples)), [videos[one.video] for one in examples]] = True
    return relevant
