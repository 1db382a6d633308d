"""A suite that a folder makes: another suite, seen with prompts and crops, or refined by trained ALAN towers.

`suite.json` says which suite it stands on and what is changed; the towers, where there are any, lie in `alan/` as
`ResidualAlanModel.save_pretrained` writes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from var_plugin.encoders.base import ScoreStatistics, Space
from var_plugin.encoders.clip_features import ImageVideoEncoder
from var_plugin.encoders.ensembling import CropCount, CroppedImages, PromptedText
from var_plugin.encoders.residual import ResidualImageEncoder, ResidualTextEncoder, ResidualVideoEncoder, read_with
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import FingerprintMismatchError, InvalidInputError, MissingWeightsError, field_errors
from var_plugin.types import Modality

if TYPE_CHECKING:
    from var_plugin.encoders.alan.residual import ResidualAlanModel

SUITE_FILE = "suite.json"
TOWERS_FOLDER = "alan"


class Anomalies(BaseModel):
    """What is known of the towers' anomaly score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: str
    """What it was trained on and what that never saw."""
    calibration: tuple[float, float] = (1.0, 0.0)
    """Slope and offset on the detector's logits."""


class Spread(BaseModel):
    """A `ScoreStatistics`, as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    std: float = Field(gt=0)


class SuiteFile(BaseModel):
    """What `suite.json` holds; all but the base may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """The suite it stands on."""
    base_fingerprint: str | None = None
    """That of the base's space when the towers were trained; None: any will do."""
    prompts: tuple[str, ...] = ()
    """Wordings with `{}` for the text."""
    crops: CropCount | None = None
    """How many crops of an image are looked at; None: the whole image, scaled."""
    anomaly: Anomalies | None = None
    """None: the towers have no trained anomaly score."""
    score_statistics: dict[Literal["text", "image", "video"], Spread] = {}
    """Per query modality, the similarity to footage that has nothing to do with the query."""
    summary: str = ""


def is_suite_folder(name: str | Path) -> bool:
    """Tell whether a name is a folder that makes a suite."""
    return (Path(name) / SUITE_FILE).is_file()


def open_folder(folder: Path, load: Callable[[str], Suite]) -> Suite:
    """Return the suite of a folder; its weights load at first use.

    Args:
        folder: holds `suite.json`.
        load: finds the base.

    Raises:
        InvalidInputError: the file is not what `SuiteFile` describes.
        FingerprintMismatchError: the base is not the one that the towers were trained on.
        As `load_suite` for the base.
    """
    folder = folder.absolute()
    content = (folder / SUITE_FILE).read_bytes()
    try:
        file = SuiteFile.model_validate_json(content)
    except ValidationError as error:
        raise InvalidInputError(
            f"{folder / SUITE_FILE} does not describe a suite",
            why=str(field_errors(error)[0]),
            fix="see docs/suites.md",
        ) from error
    base = load(file.base)
    base_encoders = base.encoders_for("video")
    if file.base_fingerprint not in (None, base_encoders.space.fingerprint):
        raise FingerprintMismatchError(
            f"{folder} was trained on '{file.base}' of fingerprint {file.base_fingerprint}",
            why=f"here '{file.base}' has the fingerprint {base_encoders.space.fingerprint}",
            fix="take the revision of the model that it was trained on, or train again",
        )
    description = replace(
        base.description,
        name=str(folder),
        summary=file.summary or f"made from {file.base} by {folder / SUITE_FILE}",
    )
    scene = _scene(base_encoders, file, folder, hashlib.sha256(content))
    return Suite(description, base.encoders | {base_encoders.space.name: scene}, base=base)


class FolderTowers:
    """The towers of a suite folder; satisfies `Towers`."""

    def __init__(self, folder: Path, anomaly: Anomalies | None) -> None:
        self._folder, self._anomaly = folder, anomaly

    @cached_property
    def model(self) -> ResidualAlanModel:
        """The model, ready to encode, on the CPU: it is small beside any backbone.

        Raises:
            MissingWeightsError: the folder does not hold all weights.
        """
        from var_plugin.encoders.alan.residual import ResidualAlanModel

        model, report = ResidualAlanModel.from_pretrained(
            self._folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if report["missing_keys"]:
            raise MissingWeightsError(
                f"{self._folder} lacks {len(report['missing_keys'])} weights of its towers",
                why="they would be random numbers",
                fix="train again, or bring the whole folder",
            )
        loaded: ResidualAlanModel = model.eval()
        return loaded

    @property
    def dim(self) -> int:
        """Width of its vectors."""
        return int(self.model.config.embedding_dim)

    @property
    def anomaly_scope(self) -> str | None:
        """What its anomaly score was trained on."""
        return self._anomaly.scope if self._anomaly else None

    @property
    def calibration(self) -> tuple[float, float]:
        """Slope and offset of the detector's logits."""
        return self._anomaly.calibration if self._anomaly else (1.0, 0.0)


def _scene(base: SpaceEncoders, file: SuiteFile, folder: Path, digest: hashlib._Hash) -> SpaceEncoders:
    """Put the changes around the encoders of the base's space."""
    digest.update(base.space.fingerprint.encode())
    text, image, video, dim = base.text, base.image, base.video, base.space.dim
    if image and file.crops:
        image, video = CroppedImages(image, file.crops), None
    if text and file.prompts:
        text = PromptedText(text, file.prompts)
    weights = folder / TOWERS_FOLDER
    if weights.is_dir():
        for part in sorted(weights.iterdir()):
            digest.update(part.name.encode() + part.read_bytes())
        towers = FolderTowers(weights, file.anomaly)
        dim = towers.dim
        frames = video or (ImageVideoEncoder(image) if image else None)
        video = ResidualVideoEncoder(frames, towers) if frames else None
        image = ResidualImageEncoder(image, towers) if image else None
        text = ResidualTextEncoder(read_with(text), towers) if text else None
    space = Space(base.space.name, dim, base.space.metric, base.space.modalities, digest.hexdigest()[:16])
    measured: dict[Modality, ScoreStatistics] = {
        modality: ScoreStatistics(spread.mean, spread.std) for modality, spread in file.score_statistics.items()
    }
    return replace(base, space=space, text=text, image=image, video=video, score_statistics=measured, calibrators={})
