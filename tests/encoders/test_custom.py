"""Suites in folders: the effects of `suite.json`, and towers that start as the identity."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.colors import color_suite
from tests.encoders.backbones.tiny import save_clap, save_clip, save_xclip
from tests.films import Film, textured
from tests.ingest.test_add import scene
from tests.tolerances import FLOAT32
from var_plugin.api import open_index
from var_plugin.config import settings
from var_plugin.encoders import custom as suite_folder
from var_plugin.encoders.alan.residual import ResidualAlanConfig, ResidualAlanModel
from var_plugin.encoders.audio_features import audio_vector
from var_plugin.encoders.backbones.clap import sound_space
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.clip_features import embed_clips
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.suite import Suite
from var_plugin.errors import (
    FingerprintMismatchError,
    InvalidInputError,
    MissingWeightsError,
    UnknownSuiteError,
    VarPluginError,
)


def write_suite(folder: Path, **fields: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.json").write_text(json.dumps({"base": "colors"} | fields))
    return folder


def with_towers(folder: Path, **options: object) -> Path:
    torch.manual_seed(0)
    config = ResidualAlanConfig(hidden_size=3, motion_dim=None, use_text_adapter=True, num_attention_heads=1, **options)
    ResidualAlanModel(config).save_pretrained(folder / "alan")
    return folder


def opened(folder: Path) -> Suite:
    return suite_folder.open_folder(folder, lambda name: color_suite())


def test_untrained_towers_return_the_vectors_of_the_base(film: Film, tmp_path: Path) -> None:
    suite, base = opened(with_towers(write_suite(tmp_path / "mine"))), color_suite()
    path = film(seconds=16, fps=5, paint=scene("red", "blue"))
    image = textured(3)
    np.testing.assert_array_equal(suite.encode("image", [image]), base.encode("image", [image]))
    np.testing.assert_array_equal(suite.encode("video", [path]), base.encode("video", [path]))
    np.testing.assert_allclose(suite.encode("text", ["red"]), base.encode("text", ["red"]), atol=FLOAT32)
    encoder = suite.encoders["scene"].video_encoder
    clips = embed_clips(path, encoder.extractor, fps=2)
    zero_shot = l2_normalize(clips.vectors.mean(axis=0))
    scores = np.linspace(0, 1, len(clips.times), dtype=np.float32)
    np.testing.assert_allclose(encoder.embed_video(clips.vectors, scores), zero_shot, atol=FLOAT32)
    assert suite.fingerprint != base.fingerprint
    assert suite.base.fingerprint == base.fingerprint


def test_the_anomaly_detector_is_used_only_if_it_was_trained(film: Film, tmp_path: Path) -> None:
    path = film(seconds=4)
    folder = with_towers(write_suite(tmp_path / "mine"))
    assert "anomaly" not in opened(folder).anomaly(path)[0].events
    assert "label-free" in opened(folder).anomaly_scope
    write_suite(folder, anomaly={"scope": "fights in one car park", "calibration": [2.0, 0.0]})
    assert 0 < opened(folder).anomaly(path)[0].events["anomaly"] < 1
    assert "fights in one car park" in opened(folder).anomaly_scope


def test_a_folder_adds_prompts_and_crops(tmp_path: Path) -> None:
    suite = opened(write_suite(tmp_path / "mine", prompts=["{}", "{} blue"], crops=5))
    assert suite.encoders["scene"].image.size == (9, 9)
    np.testing.assert_allclose(
        suite.encode("text", ["red"])[0, 2], l2_normalize(np.array([1 + 0.5**0.5, 0, 0.5**0.5]))[2], 1e-5
    )
    fingerprints = {
        opened(write_suite(tmp_path / "mine", prompts=prompts)).fingerprint for prompts in ([], ["{}"], ["a {}"])
    }
    assert len(fingerprints) == 3


def test_a_folder_adds_or_replaces_the_audio_encoder(film: Film, tmp_path: Path) -> None:
    clap = save_clap(tmp_path / "clap")
    suite = opened(write_suite(tmp_path / "mine", clap=str(clap)))
    own = {"low": film("low.mp4", seconds=4, tone=220.0), "high": film("high.mp4", seconds=4, tone=3000.0)}
    with open_index(tmp_path / "index.db", suite=suite) as index:
        assert index.add(film.folder).ok
        for name, path in own.items():
            assert index.search(audio=path)[0].uri.endswith(f"{name}.mp4")
    assert suite.description.spaces["sound"] == ("audio", "text")
    vector = suite.encode("audio", [own["low"]])
    np.testing.assert_array_equal(vector, audio_vector(own["low"], sound_space(Checkpoint(str(clap))).audio)[None])
    assert suite.fingerprint != color_suite().fingerprint
    with pytest.raises(UnknownSuiteError, match=r"of type 'clip'.*a CLAP model encodes audio"):
        opened(write_suite(tmp_path / "mine", clap=str(save_clip(tmp_path / "clip"))))


def test_backgrounds_of_a_folder_calibrate_its_search(tmp_path: Path) -> None:
    suite = opened(write_suite(tmp_path / "mine", score_statistics={"text": {"mean": 0.25, "std": 0.05}}))
    assert suite.encoders["scene"].score_statistics["text"].mean == 0.25


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"base": "colors", "crop": 5}', "crop: Extra inputs"),
        ('{"base": "colors", "crops": 4}', "crops: Input should be 1, 5 or 10"),
        ('{"prompts": []}', "base: Field required"),
        ('{"base": "colors", "score_statistics": {"text": {"mean": 0, "std": 0}}}', "greater than 0"),
        ('{"base": "colors", "score_statistics": {"text": {"mean": NaN, "std": 1}}}', "finite number"),
        ('{"base": "colors", "calibrators": {"text": {"slope": 1e999, "size": 0, "offset": 0}}}', "finite number"),
        ("no json", "Invalid JSON"),
    ],
)
def test_an_invalid_suite_file_is_refused(content: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "suite.json").write_text(content)
    with pytest.raises(InvalidInputError, match=why):
        opened(tmp_path)


def test_towers_of_another_base_or_without_weights_are_refused(tmp_path: Path) -> None:
    folder = with_towers(write_suite(tmp_path / "mine", base_fingerprint="something else"))
    with pytest.raises(FingerprintMismatchError, match=r"does not fit .*fingerprint something else"):
        opened(folder)
    from safetensors.torch import load_file, save_file

    write_suite(folder)
    weights = load_file(folder / "alan/model.safetensors")
    del weights["text_adapter.linear.weight"]
    save_file(weights, folder / "alan/model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeightsError, match="1 weights are missing"):
        opened(folder)


VALID = {"hidden_size": 3, "motion_dim": None, "num_attention_heads": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000, b"1" * 5000,
        *(json.dumps(VALID | {"hidden_size": value}).encode() for value in ("x", None, -1, 0, 2**70, [3], 4)),
        *(json.dumps(VALID | {"num_attention_heads": value}).encode() for value in (None, 0, 2, "\ud83d")),
    ],
)  # fmt: skip
def test_damaged_settings_of_towers_are_refused(content: bytes, tmp_path: Path) -> None:
    folder = with_towers(write_suite(tmp_path / "mine"))
    (folder / "alan/config.json").write_bytes(content)
    with pytest.raises(VarPluginError) as error:
        opened(folder)
    assert isinstance(error.value, MissingWeightsError | InvalidInputError | FingerprintMismatchError)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_damaged_weights_of_towers_are_refused(length: int, tmp_path: Path) -> None:
    folder = with_towers(write_suite(tmp_path / "mine"))
    weights = folder / "alan/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(MissingWeightsError, match=r"model\.safetensors is damaged, or belongs to another model"):
        opened(folder)
    weights.unlink()
    with pytest.raises(MissingWeightsError, match=r"there is no model\.safetensors"):
        opened(folder)
    weights.mkdir()
    with pytest.raises(MissingWeightsError, match=r"there is no model\.safetensors"):
        opened(folder)


def test_other_folders_beside_the_towers_are_ignored(tmp_path: Path) -> None:
    folder = with_towers(write_suite(tmp_path / "mine"))
    fingerprint = opened(folder).fingerprint
    (folder / "alan/.cache").mkdir()
    assert opened(folder).fingerprint == fingerprint


def test_towers_of_another_dimension_are_refused(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "mine")
    config = ResidualAlanConfig(hidden_size=4, motion_dim=None, num_attention_heads=1)
    ResidualAlanModel(config).save_pretrained(folder / "alan")
    with pytest.raises(FingerprintMismatchError, match="trained on vectors of dimension 4, not 3"):
        opened(folder)


@pytest.mark.parametrize(
    "base", ["{itself}", "", "\0", "no/folder", "a" * 5000, "clip:" + "a" * 5000, "lite:\0", "/", "."]
)
def test_a_base_that_is_no_suite_is_refused(base: str, tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "mine", base=base.replace("{itself}", str(tmp_path / "mine")))
    with pytest.raises(VarPluginError) as error:
        load_suite(folder)
    assert isinstance(error.value, InvalidInputError | UnknownSuiteError | MissingWeightsError)


def test_a_folder_based_on_clip_is_indexed_and_searched(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Index and search with a folder based on a model in the format of the Hub."""
    monkeypatch.setenv("VAR_PLUGIN_MODEL_DIR", str(tmp_path / "models"))
    settings.cache_clear()
    save_clap(tmp_path / "models/laion/larger_clap_general")
    base = load_suite(f"clip:{save_clip(tmp_path / 'clip')}")
    folder = tmp_path / "mine"
    write_suite(folder, base=base.name, base_fingerprint=base.spaces["scene"].fingerprint)
    config = ResidualAlanConfig(hidden_size=12, motion_dim=None, use_text_adapter=True, num_attention_heads=4)
    ResidualAlanModel(config).save_pretrained(folder / "alan")
    suite = load_suite(folder)
    assert suite.name == str(folder)
    assert set(suite.spaces) == {"scene", "sound"}
    np.testing.assert_allclose(
        suite.encode("text", ["a red car"], space="scene"),
        base.encode("text", ["a red car"], space="scene"),
        atol=FLOAT32,
    )
    with open_index(tmp_path / "index.db", suite=suite) as index:
        assert index.add(film(seconds=3)).ok
    with open_index(tmp_path / "index.db") as index:
        assert index.suite.name == str(folder), "an index knows its folder"
        assert index.search("a red car", k=1)
    settings.cache_clear()


def test_towers_accept_clips_of_several_frames(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_PLUGIN_MODEL_DIR", str(tmp_path / "models"))
    settings.cache_clear()
    save_clap(tmp_path / "models/laion/larger_clap_general")
    base = load_suite(f"xclip:{save_xclip(tmp_path / 'xclip')}")
    write_suite(tmp_path / "mine", base=base.name)
    config = ResidualAlanConfig(hidden_size=12, motion_dim=None, use_text_adapter=True, num_attention_heads=4)
    ResidualAlanModel(config).save_pretrained(tmp_path / "mine/alan")
    suite = load_suite(tmp_path / "mine")
    path = film(seconds=8, fps=4, paint=scene("red", "blue", seconds=4))
    np.testing.assert_allclose(suite.encode("video", [path]), base.encode("video", [path]), atol=FLOAT32)
    encoder, below = suite.encoders["scene"].video_encoder, base.encoders["scene"].video_encoder
    clips = embed_clips(path, encoder.extractor, fps=2)
    assert len(clips.times) == 4, "four frames a clip"
    scores = np.zeros(4, np.float32)
    np.testing.assert_allclose(
        encoder.embed_video(clips.vectors, scores), below.embed_video(clips.vectors, scores), atol=FLOAT32
    )
    settings.cache_clear()
