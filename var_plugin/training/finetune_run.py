"""From captioned videos to a folder that `load_suite` takes: what `var-plugin train own` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.config import require
from var_plugin.encoders.clip_features import ClipFeatures
from var_plugin.encoders.custom import SUITE_FILE, TOWERS_FOLDER, Anomalies, Spread, SuiteFile, open_folder
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.residual import each_clip
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError
from var_plugin.evaluation.captions import Captioned
from var_plugin.evaluation.clip_cache import clip_cache, video_encoder
from var_plugin.training.finetune import Refined, RefineSettings, refine

REPORT_FILE = "training.json"

_BACKGROUND_CLIPS = 2_000
_BACKGROUND_QUERIES = 500


def train_suite(
    base: str | Path,
    examples: Sequence[Captioned],
    out: Path,
    *,
    settings: RefineSettings | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Refined:
    """Train towers on a suite and write the suite that they make.

    Args:
        base: the suite that they stand on.
        examples: videos with captions.
        out: a folder that is not there yet, or empty.
        settings: see there.
        say: told what is done.

    Returns:
        What came of it; the folder is written in any case, without towers where they were no better.

    Raises:
        InvalidInputError: the folder holds something; or as `refine`.
        UnsupportedModalityError: as `refine`.
        MissingDependencyError: a package that training needs is absent.
        As decoding, for a video that cannot be read.
    """
    require("train", "sklearn", "scipy")
    settings = settings or RefineSettings()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInputError(f"{out} holds something", fix="name a new folder")
    suite = load_suite(base)
    clips = clip_cache(suite).read((one.video for one in examples), lambda video: say(f"{video}: seen"))
    result = refine(suite, examples, clips, settings, lambda epoch, found: say(f"epoch {epoch}: SumR {found:.1f}"))
    write(suite, result, examples, clips, settings, out)
    return result


def write(
    suite: Suite,
    result: Refined,
    examples: Sequence[Captioned],
    clips: Mapping[Path, ClipFeatures],
    settings: RefineSettings,
    out: Path,
) -> None:
    """Write `suite.json`, the towers where there are any, and `training.json` with what was measured."""
    out.mkdir(parents=True, exist_ok=True)
    if result.model is not None:
        result.model.save_pretrained(out / TOWERS_FOLDER)
    normal = sum(one.anomalous is False for one in examples)
    anomalous = sum(one.anomalous is True for one in examples)
    scope = f"what {anomalous} captioned videos call abnormal and {normal} do not; it has seen nothing else"
    what_came = f"refined on {len(clips)} captioned videos" if result.towers_kept else "which training did not better"
    file = SuiteFile(
        base=suite.name,
        base_fingerprint=suite.encoders_for("video").space.fingerprint,
        anomaly=None if result.detector_area is None else Anomalies(scope=scope),
        summary=f"{suite.name}, {what_came}",
    )
    target = out / SUITE_FILE
    target.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
    measured = _backgrounds(open_folder(out, lambda name: suite), examples, clips)
    file = file.model_copy(update={"score_statistics": measured})
    target.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")
    told = numbers(result) | {"settings": asdict(settings)}
    (out / REPORT_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def numbers(result: Refined) -> dict[str, object]:
    """Return the numbers of a training by name."""
    return {name: value for name, value in vars(result).items() if name != "model"}


def _backgrounds(suite: Suite, examples: Sequence[Captioned], clips: Mapping[Path, ClipFeatures]) -> dict[str, Spread]:
    """Return, per query modality, how similar queries are to clips of other videos than their own."""
    videos = {video: number for number, video in enumerate(clips)}
    frames = video_encoder(suite)
    vectors = np.concatenate([each_clip(one.vectors, frames) for one in clips.values()])
    owners = np.repeat(np.arange(len(clips)), [len(one.vectors) for one in clips.values()])
    random = np.random.default_rng(0)
    rows = random.permutation(len(vectors))[:_BACKGROUND_CLIPS]
    chosen = [examples[row] for row in random.permutation(len(examples))[:_BACKGROUND_QUERIES]]
    space = suite.encoders_for("video").space.name
    texts = suite.encode("text", [one.caption or "" for one in chosen], space=space)
    asked = np.array([videos[one.video] for one in chosen])
    seen = rows[:_BACKGROUND_QUERIES]
    images = _spread(vectors[seen] @ vectors[rows].T, owners[seen], owners[rows])
    return {
        "text": _spread(texts @ vectors[rows].T, asked, owners[rows]),
        "image": images,
        "video": images,
    }


def _spread(similarity: NDArray[np.float32], asked: NDArray[np.int64], found: NDArray[np.int64]) -> Spread:
    unrelated = similarity[asked[:, None] != found]
    return Spread(mean=round(float(unrelated.mean()), 5), std=max(1e-4, round(float(unrelated.std()), 5)))
