"""Evaluate a suite on captioned videos: retrieval of videos and of moments in them, and anomaly scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import DEFAULT_SEGMENT_SECONDS, require
from var_plugin.encoders.anomaly import score_clips
from var_plugin.encoders.base import Vectors, VideoEncoder
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, UnsupportedModalityError
from var_plugin.evaluation import segments
from var_plugin.evaluation.anomaly_labels import Event, VideoLabels
from var_plugin.evaluation.anomaly_metrics import Metrics, Track, measure
from var_plugin.evaluation.anomaly_metrics import chance as random_scores
from var_plugin.evaluation.captions import CaptionedVideo
from var_plugin.evaluation.clip_cache import sample_evenly, video_encoder
from var_plugin.evaluation.metrics import Retrieval, chance_among, from_ranks, ranks
from var_plugin.types import Modality

ZERO_SHOT, TRAINED, CHANCE, CEILING = "zero-shot", "trained", "Chance, expected", "Perfect order of the same spans"


@dataclass(frozen=True)
class SuiteResult:
    """One row of results: retrieval of videos, or of moments, and possibly the anomaly scores of the same method."""

    method: str
    videos: Retrieval | None = None
    moments: segments.MomentRecall | None = None
    anomalies: Metrics | None = None


def evaluate_suite(
    suite: Suite,
    examples: Sequence[CaptionedVideo],
    clips: Callable[[Suite], Mapping[Path, ClipFeatures]],
    *,
    frames: int | None = None,
    segment_seconds: float = DEFAULT_SEGMENT_SECONDS,
    resamples: int = 2000,
) -> list[SuiteResult]:
    """Evaluate a suite, its base if it is fine-tuned, and chance.

    Captions without times retrieve videos, captions with times retrieve moments. Examples of both kinds give rows of
    both. If both anomalous and normal content is labelled, the anomaly scores are evaluated too.

    Args:
        suite: the suite to evaluate.
        examples: videos and their queries.
        clips: function from a suite to the clips of all videos.
        frames: number of evenly spaced clips per video vector, as in published zero-shot protocols (12 in CLIP4Clip).
            None: all clips.
        segment_seconds: length of the segments of anomaly scores; see `Suite.anomaly`.
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
    clips = cache(clips)
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
    anomalies = _evaluate_anomalies(suites, examples, clips, segment_seconds, resamples)
    # The first result of a method carries its anomaly scores.
    return [replace(result, anomalies=anomalies.pop(result.method, None)) for result in results]


def _evaluate_anomalies(
    suites: Sequence[tuple[str, Suite]],
    examples: Sequence[CaptionedVideo],
    clips: Callable[[Suite], Mapping[Path, ClipFeatures]],
    segment_seconds: float,
    resamples: int,
) -> dict[str, Metrics]:
    """Evaluate the anomaly scores on the labelled content, by method. Return nothing if one class is missing."""
    labels = caption_labels(examples)
    if len({example.anomalous for example in examples} - {None}) < 2:
        return {}
    is_timed = any(example.span for example in examples if example.anomalous is not None)
    results: dict[str, Metrics] = {}
    for method, suite in suites:
        features = clips(suite)
        tracks = {name: anomaly_track(suite, features[Path(name)], segment_seconds) for name in labels}
        if not results:
            results[CHANCE] = random_scores(tracks, labels, is_timed=is_timed)
        metrics = measure(tracks, labels, is_timed=is_timed, resamples=resamples)
        results[f"{suite.name}, {method}"] = metrics
    return results


def caption_labels(examples: Sequence[CaptionedVideo]) -> dict[str, VideoLabels]:
    """Return the anomaly labels of captions by path of the video.

    In a video with labelled spans, only these are evaluated. Otherwise the label holds for the whole video.
    """
    labelled = [example for example in examples if example.anomalous is not None]
    labels: dict[str, VideoLabels] = {}
    for video in dict.fromkeys(example.video for example in labelled):
        own = [example for example in labelled if example.video == video]
        spans = tuple(example.span for example in own if example.span)
        events = [
            example.span or (0.0, math.inf) for example in own if example.anomalous and (example.span or not spans)
        ]
        labels[str(video)] = VideoLabels(tuple(Event(*span, ("anomaly",)) for span in events), scope=spans or None)
    return labels


def anomaly_track(suite: Suite, clips: ClipFeatures, segment_seconds: float) -> Track:
    """Return the anomaly scores of the clips of a video."""
    scores = suite.anomaly_of_clips(clips, segment_seconds=segment_seconds)
    starts, ends, values = (np.array([getattr(clip, name) for clip in scores]) for name in ("start", "end", "score"))
    return Track(starts, ends, values)


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
        base = suite.base and _restrict(suite.base, query)
        return Suite(suite.description, encoders, base=base, fps=suite.fps, cache=suite.cache)
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
