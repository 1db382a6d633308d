"""Tiny checkpoints with random weights, saved with the same files as the repositories on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertTokenizer,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    VideoMAEImageProcessor,
    XCLIPConfig,
    XCLIPModel,
)

from tests.encoders.backbones.weights import weights_of
from var_plugin.encoders.alan import AlanConfig, AlanModel, AlanProcessor

# The end token has the highest id, by which CLIP finds it.
_WORDS = ["<pad>", "<s>", "<unk>", "a", "red", "blue", "car", "dog", "barks", "</s>"]
_END = _WORDS.index("</s>")
_SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_TEXT = {**_SMALL, "vocab_size": len(_WORDS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": _END}


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(_WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", _END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Save a model with deterministic weights under the names of the published file."""
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    saved = load_file(file)
    fitting = weights_of({name: value.shape for name, value in saved.items() if value.is_floating_point()})
    save_file(saved | fitting, file, {"format": "pt"})


def save_clip(folder: Path) -> Path:
    text = {**_TEXT, "max_position_embeddings": 8}
    config = CLIPConfig(
        text_config=text, vision_config={**_SMALL, "image_size": 32, "patch_size": 8}, projection_dim=12
    )
    save_model(CLIPModel(config), folder)
    tokenizer().save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    text = {**_TEXT, "max_position_embeddings": 8}
    config = SiglipConfig(text_config=text, vision_config={**_SMALL, "image_size": 32, "patch_size": 8})
    save_model(SiglipModel(config), folder)
    tokenizer().save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_clap(folder: Path) -> Path:
    """Save a CLAP model with windows of one second."""
    sound = {
        "patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1],
        "num_classes": 4,
    }  # fmt: skip
    config = ClapConfig(text_config={**_TEXT, "max_position_embeddings": 20}, audio_config=sound, projection_dim=12)
    save_model(ClapModel(config), folder)
    tokenizer().save_pretrained(folder)
    ClapFeatureExtractor(max_length_s=1, truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return folder


def save_xclip(folder: Path) -> Path:
    """Save an X-CLIP model of four frames, with the processor of the published models."""
    vision = {
        **_SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4, "mit_hidden_size": 12, "mit_intermediate_size": 24,  # noqa: E501
        "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2,
    }  # fmt: skip
    text = {**_TEXT, "max_position_embeddings": 8}
    config = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=12, prompt_num_attention_heads=2)
    save_model(XCLIPModel(config), folder)
    tokenizer().save_pretrained(folder)
    processor = VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder


def save_alan(folder: Path, query: str, **fields: Any) -> Path:
    """Save an ALAN model in the format of `var-plugin train`, with a BERT for text."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "dog", "runs", "smash", "##es", "window"]
    bert = BertConfig(
        vocab_size=len(words), hidden_size=20, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32,
    )  # fmt: skip
    config = AlanConfig(
        **{
            "query_modality": query, "text_config": bert, "hidden_size": 8, "num_attention_heads": 2,
            "intermediate_size": 16, "num_fixed_clips": 4, "num_anomaly_clips": 3, "detector_channels": (8, 4),
        } | fields
    )  # fmt: skip
    save_model(AlanModel(config), folder)
    vocabulary = {word: place for place, word in enumerate(words)}
    AlanProcessor(config, BertTokenizer(vocab=vocabulary) if query == "text" else None).save_pretrained(folder)
    return folder


def save_sentence_transformers(folder: Path, clip: Path) -> Path:
    """Save a sentence-transformers model for text and images, on a CLIP in another folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer

    SentenceTransformer(modules=[Transformer(str(save_clip(clip)))], device="cpu").save(str(folder))
    return folder
