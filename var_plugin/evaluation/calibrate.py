"""Fit the score statistics and the confidence of a suite on captioned images, and write them as a suite folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from var_plugin.encoders.backbones.minilm import sentence_vectors
from var_plugin.encoders.base import LogisticCalibrator, ScoreStatistics, Vectors
from var_plugin.encoders.custom import SUITE_FILE, MatchCurve, Spread, SuiteFile, check_new_folder
from var_plugin.encoders.suite import Suite
from var_plugin.errors import InvalidInputError, MediaNotFoundError, UnsupportedModalityError
from var_plugin.evaluation.csv_tables import read_csv
from var_plugin.evaluation.match_trials import (
    MAX_UNRELATED_SIMILARITY,
    RetrievalTrials,
    draw_trials,
    fit_calibrator,
    match_probabilities,
)
from var_plugin.index.calibration import UNRELATED, score_statistics
from var_plugin.media.files import atomic_write
from var_plugin.types import Modality

MIN_IMAGES = 100
"""With fewer images, the result depends on chance."""
SIZES = (30, 100, 300, 1_000, 3_000)
"""Numbers of unrelated candidates in the searches that the confidence is fitted to."""

_MIN_QUERY_SHARE = 0.5
_FOLDS = 2
_BATCH = 64
"""Images that are decoded at a time."""


@dataclass(frozen=True)
class CaptionedImages:
    """Images with their captions: caption i describes image `images[i]`.

    Attributes:
        paths: the m image files.
        captions: the n captions, in English.
        images: (n,) position of the image of each caption.
    """

    paths: Sequence[Path]
    captions: Sequence[str]
    images: NDArray[np.int64]


@dataclass(frozen=True)
class ConfidenceResult:
    """How well the confidence predicts whether the first result is right, on images that it was not fitted to."""

    searches: int
    right: float
    """Share of the searches whose first result is right. Half of the searches have no right result."""
    mean_confidence: float
    brier: float
    """Mean squared difference of confidence and outcome."""
    brier_of_constant: float
    """The same for a confidence that is always `right`."""


@dataclass(frozen=True)
class SuiteCalibration:
    """Score statistics per query modality, and the confidence of text queries with its quality on held-out images."""

    statistics: Mapping[Modality, ScoreStatistics]
    calibrator: LogisticCalibrator | None = None
    held_out: ConfidenceResult | None = None


def read_captioned_images(folder: Path, table: Path) -> CaptionedImages:
    """Read a CSV table with the columns image (a path in the folder) and caption.

    Raises:
        MediaNotFoundError: the table or images do not exist.
        InvalidInputError: the table has other columns, a caption is empty, or there are fewer than `MIN_IMAGES` images.
    """
    columns, rows = read_csv(table, missing="pass a CSV table with the columns image and caption")
    if not {"image", "caption"} <= set(columns):
        raise InvalidInputError(
            f"{table} does not have the right columns",
            why=f"it has {', '.join(columns)}; image and caption are required",
            fix="rename the columns in the first line",
        )
    for number, row in enumerate(rows, start=2):
        if not row["caption"].strip():
            raise InvalidInputError(f"{table}, row {number}: the caption is empty", fix="write a caption, or remove it")
    names = list(dict.fromkeys(row["image"] for row in rows))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise MediaNotFoundError(
            f"{len(missing)} of {len(names)} images are missing in {folder}, among them {missing[0]}",
            fix="add them, or remove their rows",
        )
    if len(names) < MIN_IMAGES:
        raise InvalidInputError(
            f"{table} describes {len(names)} images",
            why=f"a calibration needs at least {MIN_IMAGES}",
            fix="add images with captions",
        )
    places = {name: place for place, name in enumerate(names)}
    return CaptionedImages(
        [folder / name for name in names],
        [row["caption"].strip() for row in rows],
        np.array([places[row["image"]] for row in rows]),
    )


def calibrate_on_images(suite: Suite, data: CaptionedImages) -> SuiteCalibration:
    """Measure the score statistics of a suite on images, and fit the confidence of text queries to their captions.

    The confidence is fitted to searches with and without a right image, as `match_trials` describes. Its quality is
    measured by fitting on one half of the images and predicting the other.

    Args:
        suite: the suite.
        data: images and captions of the kind of content that is searched.

    Raises:
        UnsupportedModalityError: no space of the suite takes texts and images.
        InvalidInputError: too few images are unrelated to each other, or no image is found by its caption. Errors of
            reading images also propagate.
        MissingDependencyError: scikit-learn is not installed.
    """
    encoders = suite.encoders_for("image")
    if encoders.text is None:
        raise UnsupportedModalityError(f"suite '{suite.name}' has no space for texts and images", fix="choose another")
    space = encoders.space.name
    images = np.concatenate(
        [suite.encode("image", data.paths[i : i + _BATCH], space=space) for i in range(0, len(data.paths), _BATCH)]
    )
    background = score_statistics(suite.encode("text", UNRELATED, space=space) @ images.T)
    statistics: dict[Modality, ScoreStatistics] = {"text": background}
    if encoders.video is None:  # segments are means of images
        pairs = score_statistics((images @ images.T)[~np.eye(len(images), dtype=bool)])
        statistics |= {"image": pairs, "video": pairs}
    queries = suite.encode("text", data.captions, space=space)
    scores = (queries @ images.T - background.mean) / background.std
    unrelated = _unrelated(data)
    halves = np.arange(len(data.paths)) % _FOLDS
    trials = [_trials(scores, unrelated, data.images, halves == half) for half in range(_FOLDS)]
    return SuiteCalibration(
        statistics,
        fit_calibrator(_trials(scores, unrelated, data.images, np.ones(len(data.paths), bool))),
        _measure([(fit_calibrator(trials[1 - half]), trials[half]) for half in range(_FOLDS)]),
    )


def write_calibrated_suite(suite: Suite, calibration: SuiteCalibration, out: Path) -> None:
    """Write a suite folder with the calibration. Its vectors, and so its fingerprint, are those of the suite.

    Raises:
        InvalidInputError: the folder is not empty or cannot be written, or the confidence of the suite would be lost.
    """
    check_new_folder(out)
    curve = calibration.calibrator
    encoders = suite.encoders_for("video")
    if curve is None and "text" in encoders.calibrators:
        raise InvalidInputError(
            f"suite '{suite.name}' has a confidence that belongs to its own scale of scores",
            why="with another scale, the confidence must be fitted again",
            fix="give --images and --captions as well",
        )
    file = SuiteFile(
        base=suite.name,
        base_fingerprint=encoders.space.fingerprint,
        score_statistics={
            modality: Spread(mean=values.mean, std=values.std)
            for modality, values in calibration.statistics.items()
            if modality != "audio"
        },
        calibrators={"text": MatchCurve(**asdict(curve))} if curve else {},
        summary=f"{suite.name}, calibrated",
    )
    with atomic_write(out / SUITE_FILE) as temporary:
        temporary.write_text(file.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _unrelated(data: CaptionedImages) -> NDArray[np.bool_]:
    """Return (n, m), true where all captions of an image differ in meaning from a caption."""
    sentences = sentence_vectors(data.captions)
    unrelated = np.ones((len(data.captions), len(data.paths)), bool)
    for caption, image in enumerate(data.images):
        unrelated[:, image] &= sentences @ sentences[caption] < MAX_UNRELATED_SIMILARITY
    return unrelated


def _trials(
    scores: Vectors, unrelated: NDArray[np.bool_], images: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> list[RetrievalTrials]:
    """Return searches by the captions of the chosen images among the chosen images."""
    captions = np.flatnonzero(chosen[images])
    own = scores[captions, images[captions]]
    allowed = (unrelated & chosen)[captions]
    drawn = [draw_trials("images", own, scores[captions], allowed, size) for size in SIZES if _fits(allowed, size)]
    if not drawn:
        raise InvalidInputError(
            "the images are too alike for a calibration",
            why=f"most captions have fewer than {SIZES[0]} images with an unrelated caption",
            fix="add images of other content, with captions in English",
        )
    if not any((each.own >= each.others).any() for each in drawn):
        raise InvalidInputError(
            "no confidence can be fitted",
            why="no search by a caption finds its image first",
            fix="check that the captions describe the images, or choose another suite",
        )
    return drawn


def _fits(allowed: NDArray[np.bool_], size: int) -> bool:
    return bool((allowed.sum(axis=1) >= size).mean() >= _MIN_QUERY_SHARE)


def _measure(folds: Sequence[tuple[LogisticCalibrator, Sequence[RetrievalTrials]]]) -> ConfidenceResult:
    """Compare the confidence with the outcome of searches with and without a right image."""
    confidences, outcomes = [], []
    for calibrator, trials in folds:
        for each in trials:
            searches = (each.best_with_match, each.others)
            confidences += [match_probabilities(calibrator, scores, each.size) for scores in searches]
            outcomes += [each.own >= each.others, np.zeros(len(each.own), bool)]
    confidence, outcome = np.concatenate(confidences), np.concatenate(outcomes).astype(float)
    right = float(outcome.mean())
    return ConfidenceResult(
        searches=len(outcome),
        right=right,
        mean_confidence=float(confidence.mean()),
        brier=float(((confidence - outcome) ** 2).mean()),
        brier_of_constant=right * (1 - right),
    )
