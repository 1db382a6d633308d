"""Fine-tune a suite and write the folder that `load_suite` takes. This is what `var-plugin train own` runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import ModelOptions, require
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.custom import (
    SUITE_FILE,
    TOWERS_FOLDER,
    Anomalies,
    Spread,
    SuiteFile,
    check_new_folder,
    open_folder,
)
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.residual import each_clip
from var_plugin.encoders.suite import Suite
from var_plugin.evaluation.captions import CaptionedVideo
from var_plugin.evaluation.clip_cache import clip_cache, video_encoder
from var_plugin.training.finetune import FinetuneResult, FinetuneSettings, finetune

REPORT_FILE = "training.json"

_STATISTICS_CLIPS = 2_000
_STATISTICS_QUERIES = 500


def train_suite(
    base: str | Path,
    examples: Sequence[CaptionedVideo],
    out: Path,
    *,
    options: ModelOptions,
    settings: FinetuneSettings | None = None,
    on_progress: Callable[[str], None] = lambda message: None,
) -> FinetuneResult:
    """Fine-tune a suite and write the new suite to a folder.

    Args:
        base: name or folder of the suite to fine-tune.
        examples: videos with captions.
        out: a new or empty folder. It is always written, without towers if they are not accepted.
        options: where models are, and how they run.
        settings: hyperparameters.
        on_progress: called with a line per video and epoch.

    Returns:
        The result of the training.

    Raises:
        InvalidInputError: the folder is not empty, or the data cannot be trained on; see `finetune`.
        UnsupportedModalityError: see `finetune`.
        MissingDependencyError: a package for training is not installed.
        VarPluginError: a video cannot be decoded.
    """
    require("train", "sklearn", "scipy")
    settings = settings or FinetuneSettings()
    check_new_folder(out)
    suite = load_suite(base, options)
    videos = (example.video for example in examples)
    clips = clip_cache(suite, options.cache / "clips").read(videos, lambda video: on_progress(f"{video}: encoded"))
    result = finetune(
        suite, examples, clips, settings, lambda epoch, sum_r: on_progress(f"epoch {epoch}: SumR {sum_r:.1f}")
    )
    save_suite(suite, result, examples, clips, settings, out)
    return result


def save_suite(
    suite: Suite,
    result: FinetuneResult,
    examples: Sequence[CaptionedVideo],
    clips: Mapping[Path, ClipFeatures],
    settings: FinetuneSettings,
    out: Path,
) -> None:
    """Write `suite.json`, the towers if accepted, and `training.json` with the measured values."""
    out.mkdir(parents=True, exist_ok=True)
    if result.model is not None:
        result.model.save_pretrained(out / TOWERS_FOLDER)
    normal = sum(example.anomalous is False for example in examples)
    anomalous = sum(example.anomalous is True for example in examples)
    scope = f"trained on {anomalous} videos labelled anomalous and {normal} labelled normal, and on no other data"
    outcome = f"fine-tuned on {len(clips)} captioned videos" if result.is_accepted else "not improved by training"
    file = SuiteFile(
        base=suite.name,
        base_fingerprint=suite.encoders_for("video").space.fingerprint,
        anomaly=None if result.detector_auc is None else Anomalies(scope=scope),
        summary=f"{suite.name}, {outcome}",
    )
    target = out / SUITE_FILE
    target.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
    measured = _score_statistics(open_folder(out, lambda name: suite), examples, clips)
    file = file.model_copy(update={"score_statistics": measured})
    target.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
    report = result_values(result) | {"settings": asdict(settings)}
    (out / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def result_values(result: FinetuneResult) -> dict[str, object]:
    """Return all fields of a result except the model, by name."""
    return {name: value for name, value in vars(result).items() if name != "model"}


def _score_statistics(
    suite: Suite, examples: Sequence[CaptionedVideo], clips: Mapping[Path, ClipFeatures]
) -> dict[str, Spread]:
    """Return, per query modality, mean and standard deviation of the similarity to clips of other videos."""
    videos = {video: number for number, video in enumerate(clips)}
    encoder = video_encoder(suite)
    vectors = np.concatenate([each_clip(video.vectors, encoder) for video in clips.values()])
    clip_videos = np.repeat(np.arange(len(clips)), [len(video.vectors) for video in clips.values()])
    random = np.random.default_rng(0)
    rows = random.permutation(len(vectors))[:_STATISTICS_CLIPS]
    queries = [examples[row] for row in random.permutation(len(examples))[:_STATISTICS_QUERIES]]
    space = suite.encoders_for("video").space.name
    texts = suite.encode("text", [query.caption or "" for query in queries], space=space)
    query_videos = np.array([videos[query.video] for query in queries])
    image_rows = rows[:_STATISTICS_QUERIES]
    images = _spread(vectors[image_rows] @ vectors[rows].T, clip_videos[image_rows], clip_videos[rows])
    return {
        "text": _spread(texts @ vectors[rows].T, query_videos, clip_videos[rows]),
        "image": images,
        "video": images,
    }


def _spread(similarity: NDArray[np.float32], query_videos: NDArray[np.int64], clip_videos: NDArray[np.int64]) -> Spread:
    unrelated = similarity[query_videos[:, None] != clip_videos]
    return Spread(mean=round(float(unrelated.mean()), 5), std=max(1e-4, round(float(unrelated.std()), 5)))
