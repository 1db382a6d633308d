from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipes.lite.rejection_eval import write_calibrator
from tests.data import data_folder
from var_plugin.config import settings
from var_plugin.encoders.base import ImageEncoder, LogisticCalibrator, TextEncoder, Vectors, check_vectors
from var_plugin.encoders.lite import build as lite_suite
from var_plugin.encoders.lite.image_text import LiteTextEncoder
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import SpaceEncoders
from var_plugin.encoders.weights import LITE
from var_plugin.errors import MissingWeightsError

TEXTS = ["a dog runs through the snow", "two men in red jackets", "lion"]
IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8))


@pytest.fixture(scope="module")
def flickr8k() -> Path:
    return data_folder("flickr8k")


@pytest.fixture(scope="module")
def scene() -> SpaceEncoders:
    return lite_suite.scene(LITE, settings().cache)


@pytest.fixture(scope="module")
def texts(scene: SpaceEncoders) -> TextEncoder:
    assert scene.text is not None
    return scene.text


@pytest.fixture(scope="module")
def images(scene: SpaceEncoders) -> ImageEncoder:
    assert scene.image is not None
    return scene.image


def test_vectors_have_the_dimension_and_norm_of_the_space(texts: TextEncoder, images: ImageEncoder) -> None:
    space = lite_suite.scene(LITE, settings().cache).space
    assert space.dim <= 256
    for vectors in (texts.encode(TEXTS), images.encode(IMAGES), texts.encode([]), images.encode([])):
        assert vectors.dtype == np.float32
        check_vectors(vectors, space)


def test_a_vector_does_not_depend_on_its_batch(texts: TextEncoder, images: ImageEncoder) -> None:
    together = np.concatenate([texts.encode(TEXTS), images.encode(IMAGES)])
    alone = np.concatenate([texts.encode([text]) for text in TEXTS] + [images.encode([p]) for p in IMAGES])
    assert together == pytest.approx(alone, abs=1e-4)


def test_several_batches_keep_the_order(texts: TextEncoder) -> None:
    many = [f"{number} people on a street" for number in range(70)]
    assert texts.encode(many)[69] == pytest.approx(texts.encode(many[69:])[0], abs=1e-4)


def test_captions_retrieve_their_images(texts: TextEncoder, images: ImageEncoder, flickr8k: Path) -> None:
    """Test the whole suite on held-out images. The model card has the measured figures."""
    from recipes.lite.flickr8k import read_flickr8k, read_image

    held_out = read_flickr8k(flickr8k)["test"]
    image_vectors = images.encode([read_image(path) for path in held_out.paths[:100]])
    text_vectors = texts.encode([captions[0] for captions in held_out.captions[:100]])
    assert recall_at_10(text_vectors, image_vectors) > 0.9  # chance: 0.1


def recall_at_10(queries: Vectors, candidates: Vectors) -> float:
    similarity = queries @ candidates.T
    return float(((similarity > similarity.diagonal()[:, None]).sum(1) < 10).mean())


def test_colours_are_recognised(texts: TextEncoder, images: ImageEncoder) -> None:
    """Swapped red and blue channels would not change shapes."""
    sides = [np.asarray(Image.new("RGB", (224, 224), color)) for color in ("red", "blue")]
    similarity = texts.encode(["a red wall", "a blue wall"]) @ images.encode(sides).T
    assert similarity.argmax(0).tolist() == [0, 1]


def test_the_suite_contains_the_lite_encoders() -> None:
    suite = load_suite("lite")
    assert suite.spaces["scene"].fingerprint == lite_suite.scene(LITE, settings().cache).space.fingerprint
    assert suite.encode("text", TEXTS).shape == suite.encode("image", IMAGES).shape


@pytest.mark.parametrize("changed", ["scene.json", "alan.json", "events.json"])
def test_the_fingerprint_follows_weights_and_configuration(tmp_path: Path, changed: str) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(LITE, folder)
    before = lite_suite.scene(folder, settings().cache).space.fingerprint
    assert before == lite_suite.scene(LITE, settings().cache).space.fingerprint
    configuration = json.loads((folder / changed).read_text())
    (folder / changed).write_text(json.dumps(configuration | {"note": "changed"}))
    assert lite_suite.scene(folder, settings().cache).space.fingerprint != before


def test_refitting_the_calibrator_keeps_the_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(LITE, folder)
    before = lite_suite.scene(folder, settings().cache).space.fingerprint
    write_calibrator(LogisticCalibrator(slope=1.0, size=0.5, offset=-3.0), folder / "alan.json")
    assert lite_suite.scene(folder, settings().cache).calibrators["text"].size == 0.5
    assert lite_suite.scene(folder, settings().cache).space.fingerprint == before


def test_an_incomplete_installation_is_an_error_with_its_fix(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"scene\.json does not exist"):
        LiteTextEncoder(tmp_path).encode(TEXTS)


def test_building_loads_no_network() -> None:
    script = "import sys; import var_plugin; var_plugin.load_suite('lite'); print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
