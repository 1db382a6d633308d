from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.colors import DESCRIPTION
from var_plugin.encoders.base import ImageArray, ScoreStatistics, Space, Vectors, l2_normalize
from var_plugin.encoders.custom import open_folder
from var_plugin.encoders.suite import SpaceEncoders, Suite
from var_plugin.errors import FingerprintMismatchError, InvalidInputError, MediaNotFoundError, VarPluginError
from var_plugin.evaluation.calibrate import (
    MIN_IMAGES,
    SuiteCalibration,
    calibrate_on_images,
    read_captioned_images,
    write_calibrated_suite,
)

# Words of different meaning. The grey level of an image is the place of its word.
WORDS = (
    "apple", "bridge", "candle", "desert", "engine", "forest", "guitar", "hammer", "island", "jacket", "kettle",
    "ladder", "mirror", "needle", "ocean", "piano", "queen", "river", "saddle", "tiger", "umbrella", "violin",
    "window", "yacht", "zebra", "anchor", "basket", "cannon", "dragon", "eagle", "feather", "glove", "helmet", "iron",
    "jungle", "knife", "lemon", "magnet", "nurse", "onion", "pepper", "quilt", "robot", "sailor", "tunnel", "uncle",
    "vampire", "wallet", "abbey", "bicycle", "circus", "dentist", "elephant", "football", "glacier", "horse",
    "insect", "judge", "kangaroo", "lawyer", "museum", "newspaper", "orchestra", "pyramid", "quarry", "restaurant",
    "snake", "telescope", "university", "volcano", "wheat", "xylophone", "yogurt", "airport", "balloon", "castle",
    "diamond", "earthquake", "fountain", "goat", "hospital", "igloo", "jewel", "kitchen", "library", "mountain",
    "notebook", "oyster", "parachute", "queue", "rainbow", "submarine", "theatre", "unicorn", "village", "waterfall",
    "astronaut", "butterfly", "chocolate", "dinosaur", "envelope", "firework", "grapefruit", "harbour",
)  # fmt: skip
DIM = 16


class WordVectors:
    """A random direction per word, and the opposite one after "not"."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        signs = [-1 if text.startswith("not ") else 1 for text in texts]
        return np.stack([sign * _direction(text.removeprefix("not ")) for sign, text in zip(signs, texts, strict=True)])


class GreyLevels:
    """The direction of the word of a grey level, with noise."""

    size = (8, 8)

    def __init__(self, noise: float) -> None:
        self._noise = noise

    def encode(self, images: Sequence[ImageArray]) -> Vectors:
        words = [WORDS[round(float(image.mean()))] for image in images]
        noise = np.stack([_direction(f"noise of {word}") for word in words])
        return l2_normalize(np.stack([_direction(word) for word in words]) + self._noise * noise)


def _direction(text: str) -> Vectors:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return l2_normalize(np.random.default_rng(seed).normal(size=DIM).astype(np.float32))


def suite(noise: float) -> Suite:
    space = Space("scene", DIM, "IP", frozenset({"text", "image", "video"}), "words-1")
    return Suite(DESCRIPTION, {"scene": SpaceEncoders(space, text=WordVectors(), image=GreyLevels(noise))})


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rows = ["image,caption"]
    for place, word in enumerate(WORDS):
        Image.new("RGB", (8, 8), (place,) * 3).save(folder / f"{word}.png")
        rows.append(f"{word}.png,{word}")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder


def test_confidence_agrees_with_the_share_of_right_results(images: Path) -> None:
    """On images that it was not fitted to."""
    result = calibrate_on_images(suite(noise=1.5), read_captioned_images(images, images / "captions.csv")).held_out
    assert result is not None
    assert 0.2 < result.right < 0.48, "neither all nor none of the searches with a match are right"
    assert result.mean_confidence == pytest.approx(result.right, abs=0.06)
    assert result.brier < 0.8 * result.brier_of_constant


def test_confidence_of_a_suite_without_signal_is_low(images: Path) -> None:
    calibration = calibrate_on_images(suite(noise=1e3), read_captioned_images(images, images / "captions.csv"))
    assert calibration.held_out is not None and calibration.calibrator is not None
    assert calibration.held_out.right < 0.1
    assert calibration.calibrator(2.0, 100) < 0.2


def test_statistics_are_those_of_unrelated_sentences(images: Path) -> None:
    statistics = calibrate_on_images(suite(0.5), read_captioned_images(images, images / "captions.csv")).statistics
    # Random directions in 16 dimensions: mean 0, standard deviation 1/4.
    assert statistics["text"].mean == pytest.approx(0, abs=0.05)
    assert statistics["text"].std == pytest.approx(0.25, abs=0.03)
    assert statistics["image"] == statistics["video"]


def test_a_calibrated_folder_has_the_vectors_of_its_suite_and_gives_confidences(images: Path, tmp_path: Path) -> None:
    base = suite(noise=1.5)
    calibration = calibrate_on_images(base, read_captioned_images(images, images / "captions.csv"))
    write_calibrated_suite(base, calibration, tmp_path / "mine")
    opened = open_folder(tmp_path / "mine", lambda name: base)
    assert opened.fingerprint == base.fingerprint, "an index of the suite can be searched with the folder"
    assert opened.encoders["scene"].calibrators == {"text": calibration.calibrator}
    assert opened.encoders["scene"].score_statistics == calibration.statistics
    with pytest.raises(InvalidInputError, match="not empty"):
        write_calibrated_suite(base, calibration, tmp_path / "mine")


def test_prompts_beside_a_calibration_change_the_fingerprint(images: Path, tmp_path: Path) -> None:
    base = suite(noise=1.5)
    write_calibrated_suite(
        base, calibrate_on_images(base, read_captioned_images(images, images / "captions.csv")), tmp_path / "mine"
    )
    file = tmp_path / "mine/suite.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prompts": ["a photo of {}"]}))
    assert open_folder(tmp_path / "mine", lambda name: base).fingerprint != base.fingerprint


def test_a_calibration_is_not_used_with_other_vectors(images: Path, tmp_path: Path) -> None:
    base = suite(noise=1.5)
    write_calibrated_suite(
        base, calibrate_on_images(base, read_captioned_images(images, images / "captions.csv")), tmp_path / "mine"
    )
    encoders = base.encoders["scene"]
    changed = Suite(
        DESCRIPTION, {"scene": replace(encoders, space=Space("scene", DIM, "IP", encoders.space.modalities, "words-2"))}
    )
    with pytest.raises(FingerprintMismatchError, match="fitted to fingerprint words-1, not words-2"):
        open_folder(tmp_path / "mine", lambda name: changed)


def test_a_new_scale_alone_does_not_replace_a_confidence(images: Path, tmp_path: Path) -> None:
    base = suite(noise=1.5)
    calibration = calibrate_on_images(base, read_captioned_images(images, images / "captions.csv"))
    write_calibrated_suite(base, calibration, tmp_path / "mine")
    calibrated = open_folder(tmp_path / "mine", lambda name: base)
    with pytest.raises(InvalidInputError, match="must be fitted again"):
        write_calibrated_suite(calibrated, SuiteCalibration(calibration.statistics), tmp_path / "other")
    (tmp_path / "hand").mkdir()
    statistics = {"text": {"mean": 0.1, "std": 0.2}}
    (tmp_path / "hand/suite.json").write_text(json.dumps({"base": "mine", "score_statistics": statistics}))
    assert open_folder(tmp_path / "hand", lambda name: calibrated).encoders["scene"].calibrators == {}


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    statistics = SuiteCalibration({"text": ScoreStatistics(0.1, 0.2)})
    with pytest.raises(InvalidInputError, match="file is not a folder"):
        write_calibrated_suite(suite(1.0), statistics, tmp_path / "file")
    with pytest.raises(InvalidInputError, match=r"cannot write .*: Not a directory"):
        write_calibrated_suite(suite(1.0), statistics, tmp_path / "file/mine")


def test_captions_that_find_no_image_are_refused(images: Path) -> None:
    """The vectors of the captions are opposite to those of their images."""
    data = read_captioned_images(images, images / "captions.csv")
    opposite = [f"not {caption}" for caption in data.captions]
    with pytest.raises(InvalidInputError, match="no search by a caption finds its image first"):
        calibrate_on_images(suite(0.0), replace(data, captions=opposite))


def test_a_folder_is_no_table(images: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot read .* as CSV: Is a directory"):
        read_captioned_images(images, images)


def _without_caption_column(table: str) -> str:
    return table.replace("caption", "text", 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_without_caption_column, InvalidInputError, "image and caption are required"),
        (lambda table: table + "\nghost.png,a ghost", MediaNotFoundError, "1 of .* missing .*ghost.png"),
        (lambda table: table + "\napple.png,", InvalidInputError, "the caption is empty"),
        (lambda table: "\n".join(table.splitlines()[:MIN_IMAGES]), InvalidInputError, "describes 99 images"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    change: Callable[[str], str], error: type[VarPluginError], message: str, images: Path, tmp_path: Path
) -> None:
    table = tmp_path / "captions.csv"
    table.write_text(change((images / "captions.csv").read_text()))
    with pytest.raises(error, match=message):
        read_captioned_images(images, table)


def test_images_of_one_content_are_refused(images: Path) -> None:
    data = read_captioned_images(images, images / "captions.csv")
    with pytest.raises(InvalidInputError, match="too alike"):
        calibrate_on_images(suite(1.0), replace(data, captions=["a man in a street"] * len(data.captions)))
