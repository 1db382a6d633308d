"""Suites defined by a folder: a base suite with prompts, crops, a CLAP model, trained ALAN towers or a calibration.

`suite.json` names the base suite and the changes. The optional folder `alan/` holds the towers in the format of
`ResidualAlanModel.save_pretrained`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from var_plugin.config import ModelOptions
from var_plugin.encoders.backbones.clap import sound_space
from var_plugin.encoders.base import UNKNOWN_KIND, LogisticCalibrator, ScoreStatistics, Space
from var_plugin.encoders.clip_features import ImageVideoEncoder
from var_plugin.encoders.ensembling import CropCount, CroppedImages, PromptedText
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.residual import ResidualImageEncoder, ResidualTextEncoder, ResidualVideoEncoder, read_with
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import FingerprintMismatchError, InvalidInputError, field_errors, os_error_message
from var_plugin.types import Modality

if TYPE_CHECKING:
    from var_plugin.encoders.alan.residual import ResidualAlanModel

SUITE_FILE = "suite.json"
TOWERS_FOLDER = "alan"


class Anomalies(BaseModel):
    """Scope and calibration of the towers' anomaly score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: str
    """Training data of the score and what it does not cover."""
    calibration: tuple[float, float] = (1.0, 0.0)
    """Slope and offset of Platt scaling for the detector's logits."""


class Spread(BaseModel):
    """`ScoreStatistics` in the format of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: FiniteFloat
    std: FiniteFloat = Field(gt=0)


class MatchCurve(BaseModel):
    """`LogisticCalibrator` in the format of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: FiniteFloat
    size: FiniteFloat
    offset: FiniteFloat


class SuiteFile(BaseModel):
    """Content of `suite.json`. Only `base` is required."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """Name of the base suite."""
    base_fingerprint: str | None = None
    """Fingerprint of the base space that the towers or the calibration were fitted to. None: not checked."""
    prompts: tuple[str, ...] = ()
    """Prompt templates with `{}` in place of the text."""
    crops: CropCount | None = None
    """Number of crops per image. None: the whole image, scaled."""
    clap: str | None = None
    """CLAP model for audio, by its name on the Hub or its folder. None: the audio encoder of the base."""
    anomaly: Anomalies | None = None
    """None: the towers have no trained anomaly score."""
    score_statistics: dict[Literal["text", "image", "video"], Spread] = {}
    """Statistics of the similarity to unrelated footage, per query modality."""
    calibrators: dict[Literal["text"], MatchCurve] = {}
    """The match probability of a score, per query modality."""
    summary: str = ""


def is_suite_folder(name: str | Path) -> bool:
    """Return whether a name is a folder with a `suite.json`."""
    try:
        return (Path(name) / SUITE_FILE).is_file()
    except OSError:  # a name that is too long, or a folder of another user
        return False


def check_new_folder(folder: Path) -> None:
    """Check that a suite can be written to a folder.

    Raises:
        InvalidInputError: it is not empty, or not a folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInputError(
            f"{folder} is not {'empty' if folder.is_dir() else 'a folder'}",
            why="a suite needs a folder of its own",
            fix="name a new folder",
        )


def open_folder(folder: Path, load: Callable[[str], Suite], options: ModelOptions | None = None) -> Suite:
    """Return the suite of a folder. Its weights load on first use.

    Args:
        folder: folder with `suite.json`.
        load: returns the base suite by name.
        options: where a CLAP model is, and how it runs. Default: the defaults of `ModelOptions`.

    Raises:
        InvalidInputError: the file does not match `SuiteFile`, or a file cannot be read.
        MissingWeightsError: the towers are incomplete or damaged, or the CLAP model is not found.
        UnknownSuiteError: the model named as CLAP model has another type.
        FingerprintMismatchError: the towers or the calibration were fitted to another version of the base suite.
        As `load_suite` for the base.
    """
    folder = folder.absolute()
    content = _read(folder / SUITE_FILE)
    try:
        file = SuiteFile.model_validate_json(content)
    except ValidationError as error:
        raise InvalidInputError(
            f"{folder / SUITE_FILE} does not describe a suite",
            why=str(field_errors(error)[0]),
            fix='write it as {"base": "clip", "crops": 5}; docs/suites.md lists the fields',
        ) from error
    try:
        base = load(file.base)
    except RecursionError:
        raise InvalidInputError(
            f"{folder / SUITE_FILE} does not describe a suite",
            why="its base is the suite itself, or is based on it",
            fix="name another base",
        ) from None
    base_encoders = base.encoders_for("video")
    if file.base_fingerprint not in (None, base_encoders.space.fingerprint):
        raise FingerprintMismatchError(
            f"the suite in {folder} does not fit the installed '{file.base}'",
            why=f"it was fitted to fingerprint {file.base_fingerprint}, not {base_encoders.space.fingerprint}",
            fix="install the revision of the model that it was fitted to, or train or calibrate again",
        )
    description = replace(
        base.description,
        name=str(folder),
        summary=file.summary or f"made from {file.base} by {folder / SUITE_FILE}",
    )
    scene = _calibrated(_scene(base_encoders, file, folder), file)
    encoders = base.encoders | {base_encoders.space.name: scene}
    if file.clap:
        encoders["sound"] = sound_space(Checkpoint(file.clap, options=options or ModelOptions()))
        description = replace(description, spaces={**description.spaces, "sound": ("audio", "text")})
    return Suite(description, encoders, base=base, fps=base.fps, cache=base.cache)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"cannot read {file}", why=os_error_message(error), fix="make it readable, or copy the folder again"
        ) from error


class FolderTowers:
    """The towers of a suite folder; satisfies `Towers`.

    Args:
        folder: folder of the trained model.
        anomaly: scope and calibration of its anomaly score. None: the score is not trained.
    """

    def __init__(self, folder: Path, anomaly: Anomalies | None) -> None:
        self._folder, self._anomaly = folder, anomaly

    @cached_property
    def model(self) -> ResidualAlanModel:
        """The model in evaluation mode, on the CPU because it is small compared with the backbones.

        Raises:
            MissingWeightsError, InvalidInputError: as `ResidualAlanModel.from_pretrained`.
        """
        from var_plugin.encoders.alan.residual import ResidualAlanModel

        return ResidualAlanModel.from_pretrained(self._folder)

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return int(self.model.config.embedding_dim)

    @property
    def anomaly_scope(self) -> str | None:
        """Training data of the anomaly score."""
        return self._anomaly.scope if self._anomaly else None

    @property
    def event_kind(self) -> str:
        """The kind of event that the anomaly score recognises."""
        return UNKNOWN_KIND

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset of Platt scaling for the detector's logits."""
        return self._anomaly.calibration if self._anomaly else (1.0, 0.0)


def _scene(base: SpaceEncoders, file: SuiteFile, folder: Path) -> SpaceEncoders:
    """Wrap the encoders of the base space with what changes vectors or stored scores, if there is anything."""
    weights = folder / TOWERS_FOLDER
    if not (file.prompts or file.crops or file.anomaly or weights.is_dir()):
        return base
    changes = file.model_dump_json(include={"prompts", "crops", "anomaly"})
    digest = hashlib.sha256(f"{base.space.fingerprint}{changes}".encode())
    text, image, video, dim = base.text, base.image, base.video, base.space.dim
    if image and file.crops:
        image, video = CroppedImages(image, file.crops), None
    if text and file.prompts:
        text = PromptedText(text, file.prompts)
    if weights.is_dir():
        for part in sorted(weights.iterdir()):
            if part.is_file():
                digest.update(part.name.encode(errors="surrogateescape") + _read(part))
        towers = FolderTowers(weights, file.anomaly)
        if towers.model.config.hidden_size != dim:
            raise FingerprintMismatchError(
                f"the suite in {folder} does not fit '{file.base}'",
                why=f"it was trained on vectors of dimension {towers.model.config.hidden_size}, not {dim}",
                fix="name the base that it was trained on, or train again",
            )
        dim = towers.dim
        frames = video or (ImageVideoEncoder(image) if image else None)
        video = ResidualVideoEncoder(frames, towers) if frames else None
        image = ResidualImageEncoder(image, towers) if image else None
        text = ResidualTextEncoder(read_with(text), towers) if text else None
    space = Space(base.space.name, dim, base.space.metric, base.space.modalities, digest.hexdigest()[:16])
    return replace(base, space=space, text=text, image=image, video=video, score_statistics={}, calibrators={})


def _calibrated(encoders: SpaceEncoders, file: SuiteFile) -> SpaceEncoders:
    """Add the calibration of the suite file. It does not change vectors, so the fingerprint stays.

    A calibrator of the base is fitted to the base's statistics. It is removed where the file replaces them.
    """
    statistics: dict[Modality, ScoreStatistics] = {
        modality: ScoreStatistics(spread.mean, spread.std) for modality, spread in file.score_statistics.items()
    }
    calibrators: dict[Modality, LogisticCalibrator] = {
        modality: LogisticCalibrator(curve.slope, curve.size, curve.offset)
        for modality, curve in file.calibrators.items()
    }
    inherited = {modality: curve for modality, curve in encoders.calibrators.items() if modality not in statistics}
    return replace(
        encoders,
        score_statistics={**encoders.score_statistics, **statistics},
        calibrators={**inherited, **calibrators},
    )
