"""Compare models of open_clip with its own preprocessing, tokenizer and forward pass, on tiny random checkpoints."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

import var_plugin as vp
from tests.encoders.backbones.recordings import noise, with_audio
from tests.encoders.backbones.tiny import save_clap, save_clip
from tests.films import Film, textured
from tests.test_config import run
from tests.tolerances import ATOL, FLOAT32
from var_plugin.config import settings
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.encoders.self_check import check_suite
from var_plugin.errors import InvalidInputError, MissingWeightsError
from var_plugin.media.decoded import SAMPLE_RATE

pytest.importorskip("open_clip", reason="the extra open-clip is not installed")

import open_clip

from tests.encoders.backbones.tiny_open_clip import MODELS, PREPROCESSING, save_open_clip, write_config

pytestmark = pytest.mark.usefixtures("configured")

TEXTS = ["a red car", "A blue dog, barks!", "a " * 40]
OVERFLOW = ("mobileclip", "float16")
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in MODELS:
        save_open_clip(folder / name, name)
    save_clap(folder / "laion/larger_clap_general")
    return folder


def images(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    return [textured(seed, 256, 256)[: size[0], : size[1]].copy() for seed in range(3)]


# In float16, the activations of the tiny MobileCLIP with these weights are infinite.
HALF = [(name, dtype) for name in MODELS for dtype in ("bfloat16", "float16") if (name, dtype) != OVERFLOW]


@pytest.mark.parametrize(("name", "dtype"), [*((name, "float32") for name in MODELS), *HALF])
def test_texts_and_images_match_the_library(
    configured: pytest.MonkeyPatch, models: Path, name: str, dtype: str
) -> None:
    configured.setenv("VAR_PLUGIN_DTYPE", dtype)
    settings.cache_clear()
    source = f"local-dir:{models / name}"
    precision = {"float32": "fp32", "bfloat16": "pure_bf16", "float16": "pure_fp16"}[dtype]
    model, preprocess = open_clip.create_model_from_pretrained(source, precision=precision)
    model.eval()
    suite = load_suite(f"open-clip:{models / name}")
    space, encoder = suite.spaces["scene"], suite.encoders["scene"].image
    items = images(encoder.size)
    with torch.no_grad():
        texts = model.encode_text(open_clip.get_tokenizer(source)(TEXTS)).float().numpy()
        pixels = torch.stack([preprocess(Image.fromarray(item)) for item in items]).to(getattr(torch, dtype))
        vectors = model.encode_image(pixels).float().numpy()
    assert space.dim == texts.shape[1]
    assert pixels.shape[2:] == encoder.size
    np.testing.assert_allclose(suite.encode("text", TEXTS, space="scene"), l2_normalize(texts), atol=ATOL[dtype])
    np.testing.assert_allclose(suite.encode("image", items), l2_normalize(vectors), atol=ATOL[dtype])


@pytest.mark.parametrize("name", ["siglip", "mobileclip"])
def test_pixels_are_normalised_as_the_checkpoint_says(models: Path, name: str) -> None:
    encoder = load_suite(f"open-clip:{models / name}").encoders["scene"].image
    items = images(encoder.size)
    mean, std = (np.array(PREPROCESSING[name][key], np.float32) for key in ("mean", "std"))
    expected = ((np.stack(items) / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(encoder._network.pixels(items), expected, atol=FLOAT32)


def test_siglip_uses_the_tokenizer_of_its_folder(models: Path) -> None:
    tokens = load_suite(f"open-clip:{models / 'siglip'}").encoders["scene"].text._network.tokens(["A RED car!"])
    assert tokens.shape == (1, 16)
    assert tokens[0, :5].tolist() == [1, 3, 4, 6, 9], "<s> a red car </s>, without case and punctuation"


@pytest.mark.parametrize(("name", "dtype"), HALF)
def test_half_precision_passes_the_self_check(models: Path, name: str, dtype: str) -> None:
    options = settings().model_copy(update={"dtype": dtype})
    results = check_suite(f"open-clip:{models / name}", options)
    assert {(result.space, result.modality) for result in results} == {
        ("scene", "text"), ("scene", "image"), ("scene", "video"), ("sound", "text"), ("sound", "audio"),
    }  # fmt: skip
    assert not [result.problem for result in results if result.cosine is None or result.cosine < 0.99]


def test_float16_overflow_fails_the_self_check(models: Path) -> None:
    name, dtype = OVERFLOW
    results = check_suite(f"open-clip:{models / name}", settings().model_copy(update={"dtype": dtype}))
    problems = {result.modality: result.problem for result in results if result.space == "scene"}
    assert "NaN or infinity" in problems["image"]
    assert not problems["text"]


def test_film_is_indexed_and_found_by_every_modality(film: Film, tmp_path: Path, models: Path) -> None:
    silent = film("silent.mp4", seconds=8, fps=4, paint=lambda time: textured(int(time) // 4, 64, 64))
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    audio = np.concatenate([noise(4), 0.3 * np.sin(2 * np.pi * 300 * time)]).astype(np.float32)
    path = with_audio(silent, tmp_path / "film.mkv", audio)
    suite = load_suite(f"open-clip:{models / 'mobileclip'}")
    with vp.open_index(tmp_path / "index.db", suite=suite) as index:
        assert index.add(path).ok
        (moment, *_) = index.search(video=vp.Span(path, 4.0, 8.0), k=1)
        assert moment.uri == str(path)
        assert index.search("a red car", k=1)
        assert index.search(image=textured(1, 64, 64), k=1)
        (moment, *_) = index.search(audio=vp.Span(path, 0.0, 8.0), k=1)
        assert moment.matched["sound"] > 0.99
        assert index.verify().ok


def test_files_for_transformers_are_not_part_of_the_model(models: Path, tmp_path: Path) -> None:
    """Many repositories hold a model in both layouts. Which of them was downloaded must not change a fingerprint."""
    folder = save_open_clip(tmp_path / "both")
    before = Checkpoint(str(folder), layout="open_clip").fingerprint
    assert before == Checkpoint(str(models / "clip"), layout="open_clip").fingerprint
    clip = save_clip(tmp_path / "clip")
    alone = Checkpoint(str(clip)).fingerprint
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (folder / name).write_bytes((clip / name).read_bytes())
    for name in (CONFIG, WEIGHTS):
        (clip / name).write_bytes((folder / name).read_bytes())
    assert Checkpoint(str(folder), layout="open_clip").fingerprint == before
    assert Checkpoint(str(clip)).fingerprint == alone


def test_fingerprint_changes_with_the_preprocessing(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "model")
    before = load_suite(f"open-clip:{folder}").fingerprint
    write_config(folder, MODELS["clip"], PREPROCESSING["siglip"])
    assert load_suite(f"open-clip:{folder}").fingerprint != before


def changed_weights(folder: Path, change: dict[str, Any], without: str = "") -> Path:
    weights = {name: value for name, value in load_file(folder / WEIGHTS).items() if name != without}
    save_file(weights | change, folder / WEIGHTS)
    return folder


@pytest.mark.parametrize(
    ("change", "without", "why"),
    [
        ({}, "visual.conv1.weight", r"Missing key.*visual\.conv1\.weight"),
        ({"visual.extra": torch.ones(2)}, "", r"Unexpected key.*visual\.extra"),
        ({"text_projection": torch.ones(3, 3)}, "", r"size mismatch for text_projection"),
    ],
)
def test_missing_and_unused_weights_are_rejected(
    tmp_path: Path, change: dict[str, Any], without: str, why: str
) -> None:
    folder = changed_weights(save_open_clip(tmp_path / "model"), change, without)
    with pytest.raises(MissingWeightsError, match=f"not those of its network: {why}"):
        load_suite(f"open-clip:{folder}").encode("text", TEXTS)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "model")
    torch.save(load_file(folder / WEIGHTS), folder / "open_clip_pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    with pytest.raises(MissingWeightsError, match=r"contains no open_clip_model\.safetensors file.*save_for_hf"):
        load_suite(f"open-clip:{folder}")


@pytest.mark.parametrize(
    ("tower", "setting", "why"),
    [
        ("text_cfg", {"hf_model_name": "organisation/roberta"}, "model 'organisation/roberta' of transformers"),
        ("vision_cfg", {"timm_model_name": "hf-hub:organisation/vit"}, "in another repository"),
        ("vision_cfg", {"timm_model_name": "local-dir:/tmp/vit"}, "in another repository"),
        ("text_cfg", {"tokenizer_kwargs": {"trust_remote_code": True}}, "the option 'trust_remote_code'"),
        ("text_cfg", {"tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}, "the option 'bpe_path'"),
        ("text_cfg", {"tokenizer_kwargs": {"reduction_mask": "random"}}, "the option 'reduction_mask'"),
    ],
)
def test_model_that_needs_more_than_its_files_is_refused(
    tmp_path: Path, tower: str, setting: dict[str, Any], why: str
) -> None:
    folder = save_open_clip(tmp_path / "model")
    config = MODELS["clip"] | {tower: MODELS["clip"][tower] | setting}
    write_config(folder, config, PREPROCESSING["clip"])
    with pytest.raises(InvalidInputError, match=f"needs more than its own weights: .*{why}"):
        load_suite(f"open-clip:{folder}")


def test_tokenizer_with_code_is_refused(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "model", "siglip")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}))
    with pytest.raises(InvalidInputError, match="brings code of its own"):
        load_suite(f"open-clip:{folder}")


def test_missing_tokenizer_is_an_error(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "model", "siglip")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InvalidInputError, match="lacks its tokenizer: it uses the tokenizer 'organisation/name'"):
        load_suite(f"open-clip:{folder}")


@pytest.mark.parametrize("config", [None, [], {"embed_dim": 12}, {"embed_dim": 12, "vision_cfg": {}, "text_cfg": None}])
def test_configuration_without_a_model_is_an_error(tmp_path: Path, config: object) -> None:
    folder = save_open_clip(tmp_path / "model")
    write_config(folder, config, {})
    with pytest.raises(InvalidInputError, match="does not describe a model"):
        load_suite(f"open-clip:{folder}")


@pytest.mark.parametrize(
    ("setting", "why"),
    [({"timm_model_name": "vit_of_nobody"}, "Unknown model"), ({"no_such_setting": 1}, "no_such_setting")],
)
def test_unknown_network_is_an_error(tmp_path: Path, setting: dict[str, Any], why: str) -> None:
    folder = save_open_clip(tmp_path / "model")
    config = MODELS["clip"] | {"vision_cfg": MODELS["clip"]["vision_cfg"] | setting}
    write_config(folder, config, {})
    with pytest.raises(InvalidInputError, match=f"cannot load the model in .*{why}"):
        load_suite(f"open-clip:{folder}").encode("text", TEXTS)


def test_folder_of_transformers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"contains no open_clip_model\.safetensors"):
        load_suite(f"open-clip:{save_clip(tmp_path / 'clip')}")


def test_root_logger_stays_as_it_was(models: Path) -> None:
    """open_clip logs to the root logger, which would set up a handler for the messages of all libraries."""
    handlers = list(logging.getLogger().handlers)
    load_suite(f"open-clip:{models / 'clip'}").encode("text", TEXTS)
    assert logging.getLogger().handlers == handlers


def test_missing_package_error_names_the_extra(tmp_path: Path, models: Path, film: Film) -> None:
    film("film.mp4", seconds=2, fps=5)
    ended = run(tmp_path, "index", "film.mp4", "--suite", f"open-clip:{models / 'clip'}")
    assert ended.returncode == 6, ended.stderr
    assert "pip install 'var-plugin[open-clip]'" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
