"""Tiny checkpoints with random weights, saved to folders that hold the same files as the hub's repositories."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    VideoMAEImageProcessor,
    XCLIPConfig,
    XCLIPModel,
)

# The end has the highest number, as in CLIP, which finds it by that.
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


def save_clip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = {**_TEXT, "max_position_embeddings": 8}
    config = CLIPConfig(text_config=text, vision_config={**_SMALL, "image_size": 32, "patch_size": 8}, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_siglip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = {**_TEXT, "max_position_embeddings": 8}
    config = SiglipConfig(text_config=text, vision_config={**_SMALL, "image_size": 32, "patch_size": 8})
    SiglipModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def save_clap(folder: Path) -> Path:
    """A model that hears one second."""
    torch.manual_seed(0)
    sound = {
        "patch_embeds_hidden_size": 8, "hidden_size": 64, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 1],
        "num_classes": 4,
    }  # fmt: skip
    config = ClapConfig(
        text_config={**_TEXT, "max_position_embeddings": 20}, audio_config=sound, projection_dim=12
    )
    ClapModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    ClapFeatureExtractor(max_length_s=1, truncation="rand_trunc", padding="repeatpad").save_pretrained(folder)
    return folder


def save_xclip(folder: Path) -> Path:
    """A model that looks at four frames, with the processor that the published ones have."""
    torch.manual_seed(0)
    vision = {
        **_SMALL, "image_size": 32, "patch_size": 8, "num_frames": 4, "mit_hidden_size": 12, "mit_intermediate_size": 24,
        "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2,
    }  # fmt: skip
    text = {**_TEXT, "max_position_embeddings": 8}
    config = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=12, prompt_num_attention_heads=2)
    XCLIPModel(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    processor = VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder
