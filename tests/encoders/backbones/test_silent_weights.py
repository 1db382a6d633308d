"""Faults of other projects that returned wrong vectors without an error."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from tests.encoders.backbones.tiny import save_clap, save_clip, save_sentence_transformers, save_siglip
from tests.films import textured
from tests.tolerances import FLOAT32
from var_plugin.encoders.backbones.clap import sound_space
from var_plugin.encoders.backbones.clip import scene_space
from var_plugin.encoders.base import l2_normalize
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.registry import load_suite
from var_plugin.errors import MissingWeightsError

IMAGES = [textured(seed, 32, 32) for seed in range(3)]
TEXTS = ["a red car", "a blue dog barks"]


def renamed(folder: Path, before: str, after: str) -> Path:
    """Rename weights as a fine-tuning wrapper does."""
    file = folder / "model.safetensors"
    weights = {name.replace(before, after): value for name, value in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("save", "layer"),
    [(save_clip, "visual_projection"), (save_siglip, "vision_model.head"), (save_clap, "audio_projection")],
)
def test_misnamed_weights_are_rejected(save: Callable[[Path], Path], layer: str, tmp_path: Path) -> None:
    checkpoint = Checkpoint(str(renamed(save(tmp_path / "model"), layer, f"wrapped.{layer}")))
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        checkpoint.model()


def test_misnamed_weights_of_sentence_transformers_are_rejected(tmp_path: Path) -> None:
    folder = save_sentence_transformers(tmp_path / "model", tmp_path / "clip")
    assert load_suite(f"sentence-transformers:{folder}").encode("text", TEXTS).shape == (2, 12)
    renamed(folder, "visual_projection", "wrapped.visual_projection")
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        load_suite(f"sentence-transformers:{folder}")


def test_weights_that_the_network_does_not_use_are_rejected(tmp_path: Path) -> None:
    """A loader that knows other names leaves biases at zero."""
    file = save_clip(tmp_path / "model") / "model.safetensors"
    save_file(
        load_file(file) | {"vision_model.encoder.layers.0.self_attn.q_bias": torch.ones(16)}, file, {"format": "pt"}
    )
    with pytest.raises(MissingWeightsError, match=r"does not use, among them .*q_bias"):
        Checkpoint(str(tmp_path / "model")).model()


def test_adapter_inside_a_weight_file_is_rejected(tmp_path: Path) -> None:
    file = save_clip(tmp_path / "model") / "model.safetensors"
    adapted = {"vision_model.encoder.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(4, 16)}
    save_file(load_file(file) | adapted, file, {"format": "pt"})
    with pytest.raises(MissingWeightsError, match=r"an adapter .*lora_A.*merge_and_unload"):
        Checkpoint(str(tmp_path / "model")).model()


@pytest.mark.parametrize("family", ["clip", "sentence-transformers"])
def test_adapter_beside_a_weight_file_is_rejected(tmp_path: Path, family: str) -> None:
    """The adapter is saved by peft. Without peft, transformers ignores it."""
    folder = save_sentence_transformers(tmp_path / "model", tmp_path / "clip")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    save_file({"base_model.model.q_proj.lora_A.weight": torch.ones(4, 16)}, folder / "adapter_model.safetensors")
    with pytest.raises(MissingWeightsError, match="an adapter"):
        load_suite(f"{family}:{folder}")


def test_clip_image_vector_is_normalised_and_projected(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "model")
    model = AutoModel.from_pretrained(folder).eval()
    torch.nn.init.normal_(model.vision_model.post_layernorm.weight)
    model.save_pretrained(folder)
    scene = scene_space(Checkpoint(str(folder)))
    pixels = scene.image._network.image_processor(IMAGES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        first = model.vision_model(pixels).last_hidden_state[:, 0]
        expected = model.visual_projection(model.vision_model.post_layernorm(first))
        before_the_norm = model.visual_projection(first)
    vectors = scene.image.encode(IMAGES)
    np.testing.assert_allclose(vectors, l2_normalize(expected.numpy()), atol=FLOAT32)
    assert np.abs(vectors - l2_normalize(before_the_norm.numpy())).max() > 0.1


def test_clip_text_vector_is_the_end_token_not_padding(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "model")
    model = AutoModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False
    )
    ends = tokens["attention_mask"].sum(1) - 1
    assert len(set(ends.tolist())) == 2
    with torch.no_grad():
        states = model.text_model(**tokens).last_hidden_state
        expected = model.text_projection(states[torch.arange(2), ends])
        wrong = model.text_projection(states[:, -1])
    vectors = scene_space(Checkpoint(str(folder))).text.encode(TEXTS)
    np.testing.assert_allclose(vectors, l2_normalize(expected.numpy()), atol=FLOAT32)
    assert np.abs(vectors - l2_normalize(wrong.numpy())).max() > 0.05


def test_siglip_image_vector_uses_attention_pooling(tmp_path: Path) -> None:
    folder = save_siglip(tmp_path / "model")
    model = AutoModel.from_pretrained(folder).eval()
    scene = scene_space(Checkpoint(str(folder)))
    pixels = scene.image._network.image_processor(IMAGES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        states = model.vision_model(pixels).last_hidden_state
        expected = model.vision_model.head(states)
    vectors = scene.image.encode(IMAGES)
    np.testing.assert_allclose(vectors, l2_normalize(expected.numpy()), atol=FLOAT32)
    assert np.abs(vectors - l2_normalize(states.mean(1).numpy())).max() > 0.1


def test_clap_text_vector_is_projected(tmp_path: Path) -> None:
    folder = save_clap(tmp_path / "model")
    model = AutoModel.from_pretrained(folder).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False
    )
    with torch.no_grad():
        expected = model.text_projection(model.text_model(**tokens).pooler_output)
    vectors = sound_space(Checkpoint(str(folder))).text.encode(TEXTS)
    np.testing.assert_allclose(vectors, l2_normalize(expected.numpy()), atol=FLOAT32)


def hub_cache(folder: Path, repository: Path, commit: str) -> Path:
    """Write files in the layout of the Hub cache: blobs, and a snapshot of links. Return the snapshot."""
    cache = folder / "models--someone--clip"
    snapshot = cache / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(commit)
    (cache / "blobs").mkdir()
    for path in repository.iterdir():
        blob = cache / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def test_sharded_weights_behind_links_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder also holds a copy for another library and a pickle, as large models in the Hub cache do."""
    from huggingface_hub import constants

    whole = save_clip(tmp_path / "whole")
    parts = tmp_path / "parts"
    shutil.copytree(whole, parts, ignore=shutil.ignore_patterns("*.safetensors"))
    AutoModel.from_pretrained(whole).save_pretrained(parts, max_shard_size="10KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 2 and (parts / "model.safetensors.index.json").is_file()
    (parts / "pytorch_model.bin").write_bytes(b"a pickle")
    hub_cache(tmp_path / "cache", parts, "c" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    space = scene_space(Checkpoint("someone/clip"))
    expected = scene_space(Checkpoint(str(whole)))
    np.testing.assert_allclose(space.text.encode(TEXTS), expected.text.encode(TEXTS), atol=FLOAT32)
    np.testing.assert_allclose(space.image.encode(IMAGES), expected.image.encode(IMAGES), atol=FLOAT32)


def test_resolved_commit_becomes_part_of_the_model_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index therefore keeps its model when the Hub has a newer one."""
    from huggingface_hub import constants

    hub_cache(tmp_path, save_clip(tmp_path / "saved"), "a" * 40)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert Checkpoint("someone/clip").pinned == f"someone/clip@{'a' * 40}"
    assert Checkpoint("someone/clip").fingerprint == Checkpoint(f"someone/clip@{'a' * 40}").fingerprint
    with pytest.raises(MissingWeightsError, match="hf download someone/clip --revision bbb"):
        _ = Checkpoint("someone/clip@bbb").folder
