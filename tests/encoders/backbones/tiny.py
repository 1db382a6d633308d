"""Tiny checkpoints with random weights, saved with the same files as the repositories on the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
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
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
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


_GEMMA_TOKENS = {
    "boi_token": "<|image>", "image_token": "<|image|>", "eoi_token": "<image|>", "boa_token": "<|audio>",
    "audio_token": "<|audio|>", "eoa_token": "<audio|>",
}  # fmt: skip


def save_gemma2(folder: Path) -> Path:
    """Save an EmbeddingGemma 2 model of 768 dimensions, with the configuration files of the published model.

    Skips the test if transformers has no such model.
    """
    pytest.importorskip("transformers.models.embedding_gemma2", reason="transformers has no EmbeddingGemma 2")
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model, Gemma4AudioFeatureExtractor

    words = ["<pad>", "<eos>", "<bos>", "<unk>", *_GEMMA_TOKENS.values(), "<|video|>", *_WORDS[3:-1], "task", "query"]
    ids = {word: place for place, word in enumerate(words)}
    gemma = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    gemma.pre_tokenizer = pre_tokenizers.Whitespace()
    gemma.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=gemma, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        additional_special_tokens=["<|video|>"], extra_special_tokens=_GEMMA_TOKENS,
    ).save_pretrained(folder)  # fmt: skip
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    config = EmbeddingGemma2Config(
        text_config={
            **small, "vocab_size": len(words), "num_hidden_layers": 2, "num_key_value_heads": 1, "global_head_dim": 16,
            "hidden_size_per_layer_input": 8, "sliding_window_pattern": 2, "sliding_window": 64,
        },
        vision_config={
            **small, "model_type": "gemma4_vision", "num_hidden_layers": 1, "patch_size": 2, "position_embedding_size": 64,  # noqa: E501
        },
        audio_config={
            "model_type": "gemma4_audio", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "subsampling_conv_channels": (128, 4), "output_proj_dims": 16,
        },
        image_token_id=ids["<|image|>"], audio_token_id=ids["<|audio|>"], video_token_id=ids["<|video|>"],
        boi_token_id=ids["<|image>"], eoi_token_id=ids["<image|>"], boa_token_id=ids["<|audio>"],
        eoa_token_index=ids["<audio|>"],
    )  # fmt: skip
    save_model(EmbeddingGemma2Model(config), folder)
    weights = load_file(folder / "model.safetensors")
    for name, value in weights.items():
        if name.endswith(("_min", "_max")):  # limits of the activations
            weights[name] = torch.full_like(value, 10.0 if name.endswith("_max") else -10.0)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    vision = {
        "do_convert_rgb": True, "do_normalize": False, "do_rescale": True, "do_resize": True, "image_mean": [0.0] * 3,
        "image_std": [1.0] * 3, "patch_size": 2, "pooling_kernel_size": 3, "resample": 3, "rescale_factor": 1 / 255,
    }  # fmt: skip
    processor = {
        "processor_class": "EmbeddingGemma2Processor", "audio_ms_per_token": 40, "audio_seq_length": 280,
        "image_seq_length": 280, "feature_extractor": Gemma4AudioFeatureExtractor().to_dict(),
        "image_processor": {**vision, "image_processor_type": "Gemma4ImageProcessor", "max_soft_tokens": 280},
        "video_processor": {
            **vision, "video_processor_type": "EmbeddingGemma2VideoProcessor", "max_soft_tokens": 70, "fps": 1,
            "max_frames": 32, "overflow_strategy": "uniform", "add_timestamps": False, "do_sample_frames": True,
        },
    }  # fmt: skip
    files: dict[str, Any] = {
        "processor_config.json": processor,
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {
                name: {"method": "forward", "method_output_name": "last_hidden_state"}
                for name in ("text", "image", "audio", "video")
            },
            "module_output_name": "token_embeddings",
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": "task: search result | query: ", "document": "title: none | text: "}
        },
    }
    _save_modules(folder, "mean", 768, files)
    return folder


def save_pe_av(folder: Path, frames: int | None = 16) -> Path:
    """Save a PE-AV model of 16 dimensions, with the configuration files of the published model.

    Args:
        folder: where to save it.
        frames: frames per clip. None: any number, as in the models without `16-frame` in their names.
    """
    from transformers import PeAudioVideoConfig, PeAudioVideoModel

    transformer = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8,
        "rope_parameters": {"rope_theta": 20_000, "rope_type": "default"},
    }  # fmt: skip
    config = PeAudioVideoConfig(
        text_config={
            "model_type": "modernbert", **_SMALL, "vocab_size": len(_WORDS), "pad_token_id": 0, "bos_token_id": 1,
            "eos_token_id": _END, "cls_token_id": 1, "sep_token_id": _END, "max_position_embeddings": 512,
        },
        audio_video_config={
            **transformer,
            "audio_config": {
                "model_type": "pe_audio_encoder", **transformer,
                "dac_config": {
                    "model_type": "dac", "downsampling_ratios": [2, 8, 10, 12], "encoder_hidden_size": 2,
                    "codebook_dim": 8, "hidden_size": 16,
                },
            },
            "video_config": {
                "model_type": "pe_video_encoder", **transformer,
                "vision_config": {
                    "model_type": "timm_wrapper", "architecture": "vit_pe_core_tiny_patch16_384", "do_pooling": True,
                    "num_classes": 12, "global_pool": "map",
                    "model_args": {
                        "depth": 1, "embed_dim": 32, "num_heads": 2, "img_size": 32, "ref_feat_shape": [2, 2],
                    },
                },
            },
        },
    )  # fmt: skip
    save_model(PeAudioVideoModel(config), folder)
    weights = load_file(folder / "model.safetensors")
    scales = {name: 1 + value / 2 for name, value in weights.items() if name.endswith(".alpha")}  # the network divides
    save_file(weights | scales, folder / "model.safetensors", {"format": "pt"})
    tokenizer().save_pretrained(folder)
    processor = {
        "processor_class": "PeAudioVideoProcessor",
        "feature_extractor": {
            "feature_extractor_type": "PeAudioFeatureExtractor", "feature_size": 1, "hop_length": 1920,
            "padding_side": "right", "padding_value": 0.0, "return_attention_mask": True, "sampling_rate": 48_000,
        },
        "video_processor": {
            "video_processor_type": "PeVideoVideoProcessor", "do_convert_rgb": True, "do_normalize": True,
            "do_rescale": True, "do_resize": True, "do_sample_frames": frames is not None, "num_frames": frames,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "rescale_factor": 1 / 255,
            "size": {"height": 32, "width": 32},
        },
    }  # fmt: skip
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


_QWEN_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
_QWEN_WORDS = [*_WORDS[3:-1], "system", "user", "assistant", "Represent", "Find", "visual", "seconds", "<", ">", "."]
_QWEN_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for content in message.content %}"
    "{%- if content.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif content.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def save_qwen3_vl(folder: Path) -> Path:
    """Save a Qwen3-VL-Embedding model of 288 dimensions, with the configuration files of the published model."""
    words = [*_QWEN_TOKENS, "<unk>", *_QWEN_WORDS, *map(str, range(10))]
    ids = {word: place for place, word in enumerate(words)}
    qwen = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    qwen.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )
    # The vector of the published model is that of this token.
    qwen.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", ids["<|endoftext|>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=qwen, pad_token="<|endoftext|>", eos_token="<|im_end|>", unk_token="<unk>",
        additional_special_tokens=_QWEN_TOKENS[1:], chat_template=_QWEN_TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    config = Qwen3VLConfig(
        text_config={
            "hidden_size": 288, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 16, "vocab_size": len(words), "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 5_000_000, "mrope_section": [4, 2, 2], "mrope_interleaved": True,
            },
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "depth": 3, "num_heads": 2, "out_hidden_size": 288,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    save_model(Qwen3VLForConditionalGeneration(config), folder)
    vision = {
        "processor_class": "Qwen3VLProcessor", "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    }  # fmt: skip
    files = {
        "preprocessor_config.json": {
            **vision, "image_processor_type": "Qwen2VLImageProcessorFast",
            "size": {"longest_edge": 1_310_720, "shortest_edge": 4_096},
        },
        "video_preprocessor_config.json": {
            **vision, "video_processor_type": "Qwen3VLVideoProcessor",
            "size": {"longest_edge": 25_165_824, "shortest_edge": 4_096},
        },
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": {
                name: {"method": "forward", "method_output_name": "last_hidden_state"}
                for name in ("text", "image", "video")
            }
            | {
                "message": {
                    "method": "forward", "method_output_name": "last_hidden_state", "format": "structured",
                },
            },
            "module_output_name": "token_embeddings",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
        "config_sentence_transformers.json": {
            "prompts": {"query": "Represent the user's input.", "document": "Represent the user's input."}
        },
    }  # fmt: skip
    _save_modules(folder, "lasttoken", 288, files)
    return folder


def _save_modules(folder: Path, pooling: str, dim: int, files: dict[str, Any]) -> None:
    """Save configuration files, with those of the modules of sentence-transformers for pooling and normalisation."""
    modules = [
        "base.modules.transformer.Transformer",
        "sentence_transformer.modules.pooling.Pooling",
        "sentence_transformer.modules.normalize.Normalize",
    ]
    files = {
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{name}"}
            for i, (name, path) in enumerate(zip(modules, ["", "1_Pooling", "2_Normalize"], strict=True))
        ],
        "1_Pooling/config.json": {"embedding_dimension": dim, "pooling_mode": pooling, "include_prompt": True},
        "2_Normalize/config.json": {},
        **files,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, default=lambda array: array.tolist()))


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

    model = SentenceTransformer(modules=[Transformer(str(save_clip(clip)))], device="cpu")
    model.max_seq_length = 8
    model.save(str(folder))
    return folder
