"""Loading BERT for the text tower from folders in the format of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from var_plugin.encoders.alan import AlanModel, AlanProcessor
from var_plugin.errors import MissingWeightsError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "run", "##s", "dog", "barks", "."]
FIELDS = {
    "object_dim": 12, "motion_dim": None, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16,
    "detector_channels": (4, 4), "num_fixed_clips": 3, "num_anomaly_clips": 3,
}  # fmt: skip


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """Write a folder like google-bert's: a masked language model, weights under `bert.`, TensorFlow names of norms."""
    folder = tmp_path / "bert"
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    model.bert = BertModel(config)  # the published files contain the pooler
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = load_file(file)
    for new, former in old.items():
        weights = {name.replace(new, former): value for name, value in weights.items()}
    assert "bert.embeddings.LayerNorm.gamma" in weights and "bert.pooler.dense.weight" in weights
    save_file(weights, file, {"format": "pt"})
    BertTokenizer(vocab={word: place for place, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


def test_text_tower_uses_the_outputs_of_bert(bert: Path) -> None:
    """CLS is the output, not the pooler. AVG excludes special tokens and padding."""
    model = AlanModel.from_pretrained_text(bert, **FIELDS).eval()
    library = BertModel.from_pretrained(bert).eval()
    processor = AlanProcessor(model.config, BertTokenizer.from_pretrained(bert))
    batch = processor(text=["a man runs.", "a dog"])
    assert batch["input_ids"].tolist() == [[2, 5, 6, 7, 8, 11, 3], [2, 5, 9, 3, 0, 0, 0]]
    with torch.no_grad():
        states = library(**batch).last_hidden_state
        encoding = model.text_encoder(**batch)
        words = torch.stack([states[0, 1:6].mean(0), states[1, 1:3].mean(0)])
        expected = model.text_encoder.heads(states[:, 0], words)
        pooled = model.text_encoder.heads(library(**batch).pooler_output, words)
    torch.testing.assert_close(encoding.words, states)
    torch.testing.assert_close(encoding.cls, expected.cls)
    torch.testing.assert_close(encoding.avg, expected.avg)
    assert (encoding.cls - pooled.cls).abs().max() > 1e-3
    assert model.config.text_config.hidden_dropout_prob == 0.3


def test_bert_without_a_pooler_is_loaded(bert: Path) -> None:
    file = bert / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if "pooler" not in name}
    save_file(weights, file, {"format": "pt"})
    AlanModel.from_pretrained_text(bert, **FIELDS)


@pytest.mark.parametrize("layer", ["embeddings.LayerNorm", "encoder.layer.1.output.dense"])
def test_misnamed_weights_are_rejected(bert: Path, layer: str) -> None:
    file = bert / "model.safetensors"
    weights = {name.replace(layer, f"module.{layer}"): value for name, value in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(MissingWeightsError, match="would be random numbers"):
        AlanModel.from_pretrained_text(bert, **FIELDS)


def test_pickles_are_not_loaded(bert: Path) -> None:
    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match="contains no safetensors"):
        AlanModel.from_pretrained_text(bert, **FIELDS)


def test_missing_bert_error_names_the_download_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingWeightsError, match="run: hf download google-bert/nothing --revision v1"):
        AlanModel.from_pretrained_text("google-bert/nothing@v1", **FIELDS)
