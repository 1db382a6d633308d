"""Evaluate a suite on captioned videos: retrieval of videos, and of moments in them."""

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
from var_plugin.evaluation.captions import CaptionedVideo
from var_plugin.evaluation.clip_cache import sample_evenly, video_encoder
from var_plugin.evaluation.metrics import Retrieval, chance_among, from_ranks, ranks
from var_plugin.types import Modality

ZERO_SHOT, TRAINED, CHANCE, CEILING = "zero-shot", "trained", "Chance, expected", "Perfect order of the same spans"


@dataclass(frozen=True)
class SuiteResult:
    """One row of results: retrieval of videos, or of moments."""

    method: str
    videos: Retrieval | None = None
    moments: segments.MomentRecall | None = None


def evaluate_suite(
    suite: Suite,
    examples: Sequence[CaptionedVideo],
    clips: Callable[[Suite], Mapping[Path, ClipFeatures]],
    *,
    frames: int | None = None,
    resamples: int = 2000,
) -> list[SuiteResult]:
    """Evaluate a suite, its base if it is fine-tuned, and chance.

    Captions without times retrieve videos, captions with times retrieve moments. Examples of both kinds give rows of
    both.

    Args:
        suite: the suite to evaluate.
        examples: videos and their queries.
        clips: function from a suite to the clips of all videos.
        frames: number of evenly spaced clips per video vector, as in published zero-shot protocols (12 in CLIP4Clip).
            None: all clips.
        resamples: bootstrap resamples. 0: no intervals.

    Returns:
        The rows, chance first.

    Raises:
        InvalidInputError: there are no examples.
        UnsupportedModalityError: no space of the suite takes both video and the queries.
        MissingDependencyError: scipy is not installed.
    """
    require("train", "scipy")
    if not examples:
        raise InvalidInputError("there are no captioned videos", fix="pass at least one video with a caption")
    suite = _restrict(suite, "audio" if examples[0].caption is None else "text")
    whole = [example for example in examples if example.span is None]
    timed = [example for example in examples if example.span is not None]
    suites = [(ZERO_SHOT, suite.base), (TRAINED, suite)] if suite.base else [(ZERO_SHOT, suite)]
    results = []
    if whole:
        relevant = _relevant(whole)
        results.append(SuiteResult(CHANCE, videos=chance_among(relevant)))
        for method, candidate in suites:
            features = clips(candidate)
            if frames:
                features = {video: sample_evenly(video_clips, frames) for video, video_clips in features.items()}
            scores = _video_scores(candidate, whole, features)
            forward, backward = ranks(scores, relevant), ranks(scores.T, relevant.T)
            retrieval = from_ranks(forward, backward, resamples=resamples)
            results.append(SuiteResult(f"{candidate.name}, {method}", videos=retrieval))
    if timed:
        results += _evaluate_moments(suites, timed, clips, resamples)
    return results


def _evaluate_moments(
    suites: Sequence[tuple[str, Suite]],
    examples: Sequence[CaptionedVideo],
    clips: Callable[[Suite], Mapping[Path, ClipFeatures]],
    resamples: int,
) -> list[SuiteResult]:
    results: list[SuiteResult] = []
    for method, suite in suites:
        features = clips(suite)
        gallery = {video: features[video] for video in dict.fromkeys(example.video for example in examples)}
        spans = segments.make_spans(gallery, video_encoder(suite))
        times = [example.span for example in examples if example.span]
        targets = segments.make_targets([example.video for example in examples], gallery, times)
        if not results:  # chance and ceiling depend on the times alone
            chance, ceiling = segments.chance(targets, spans), segments.ceiling(targets, spans)
            results.append(SuiteResult(CHANCE, moments=segments.summarize(chance, targets)))
            results.append(SuiteResult(CEILING, moments=segments.summarize(ceiling, targets)))
        hits = segments.retrieve(_queries(suite, examples), targets, spans)
        moments = segments.summarize(hits, targets, resamples=resamples)
        results.append(SuiteResult(f"{suite.name}, {method}", moments=moments))
    return results


def video_vector(clips: ClipFeatures, encoder: VideoEncoder) -> Vectors:
    """Return the vector (dim,) of a whole video, as an index stores it."""
    return encoder.embed_video(clips.vectors, score_clips(clips, encoder).score)


def _video_scores(
    suite: Suite, examples: Sequence[CaptionedVideo], clips: Mapping[Path, ClipFeatures]
) -> NDArray[np.float32]:
    """Return (queries, videos), with videos in the order of their first query."""
    encoder = video_encoder(suite)
    videos = dict.fromkeys(example.video for example in examples)
    vectors = np.stack([video_vector(clips[video], encoder) for video in videos])
    scores: NDArray[np.float32] = _queries(suite, examples) @ vectors.T
    return scores


def _queries(suite: Suite, examples: Sequence[CaptionedVideo]) -> Vectors:
    space = next(iter(suite.encoders))
    captions = [example.caption for example in examples if example.caption is not None]
    if captions:
        return suite.encode("text", captions, space=space)
    return suite.encode("audio", [example.video for example in examples], space=space)


def _restrict(suite: Suite, query: Modality) -> Suite:
    """Return the suite and its base, restricted to spaces that take both video and the query modality."""
    encoders = {name: space for name, space in suite.encoders.items() if {"video", query} <= space.space.modalities}
    if encoders:
        return Suite(suite.description, encoders, base=suite.base and _restrict(suite.base, query))
    modalities = "; ".join(f"{name}: {', '.join(sorted(space.modalities))}" for name, space in suite.spaces.items())
    raise UnsupportedModalityError(
        f"suite '{suite.name}' cannot search video by {query}",
        why=f"none of its spaces takes both ({modalities})",
        fix="choose a suite with a space for both, such as alan-i3d",
    )


def _relevant(examples: Sequence[CaptionedVideo]) -> NDArray[np.bool_]:
    """Return (queries, videos) bool, true for the video of each query."""
    videos = {video: number for number, video in enumerate(dict.fromkeys(example.video for example in examples))}
    relevant = np.zeros((len(examples), len(videos)), bool)
    relevant[np.arange(len(examples)), [videos[example.video] for example in examples]] = True
    return relevant
