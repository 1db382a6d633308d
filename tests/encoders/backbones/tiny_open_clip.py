"""Tiny checkpoints of open_clip with random weights, saved with the same files as on the Hugging Face Hub."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import open_clip
from safetensors.torch import save_file

from tests.encoders.backbones.tiny import tokenizer
from tests.encoders.backbones.weights import weights_of

_TEXT = {"context_length": 16, "width": 16, "heads": 2, "layers": 2}
MODELS: dict[str, dict[str, Any]] = {
    "clip": {
        "embed_dim": 12, "quick_gelu": True, "text_cfg": {**_TEXT, "vocab_size": 49_408},
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
    },
    # As SigLIP: a tokenizer of transformers, an image tower of timm with attention pooling, and a bias of the logits.
    "siglip": {
        "embed_dim": 192, "init_logit_bias": -10, "custom_text": True,
        "vision_cfg": {
            "image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False,
            "timm_pool": "avg", "timm_proj": "none",
        },
        "text_cfg": {
            **_TEXT, "vocab_size": 16, "hf_tokenizer_name": "organisation/name", "no_causal_mask": True,
            "tokenizer_kwargs": {"clean": "canonicalize"}, "pool_type": "last", "proj_bias": True,
        },
    },
    # As MobileCLIP: a convolutional image tower of timm with a projection, and pixels that are only rescaled.
    "mobileclip": {
        "embed_dim": 12, "custom_text": True, "text_cfg": {**_TEXT, "vocab_size": 49_408, "no_causal_mask": True},
        "vision_cfg": {
            "image_size": 64, "timm_model_name": "fastvit_t8", "timm_model_pretrained": False, "timm_pool": "avg",
            "timm_proj": None,
        },
    },
    # As CoCa: an attentional pooler of images, and a decoder that is not used.
    "coca": {
        "embed_dim": 12, "custom_text": True,
        "vision_cfg": {
            "image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8, "attentional_pool": True,
            "attn_pooler_heads": 2, "attn_pooler_queries": 4, "output_tokens": True,
        },
        "text_cfg": {**_TEXT, "vocab_size": 49_408, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {
            "context_length": 16, "vocab_size": 49_408, "width": 16, "heads": 2, "layers": 1, "attn_pooler_heads": 2,
        },
    },
}  # fmt: skip
PREPROCESSING: dict[str, dict[str, Any]] = {
    "clip": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
    "siglip": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    "mobileclip": {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "resize_mode": "shortest"},
    "coca": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "resize_mode": "longest"},
}


def save_open_clip(folder: Path, name: str = "clip") -> Path:
    """Save one of `MODELS`."""
    folder.mkdir(parents=True)
    write_config(folder, MODELS[name], PREPROCESSING[name])
    logging.disable(logging.WARNING)  # weights are missing on purpose
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    logging.disable(logging.NOTSET)
    shapes = {key: value.shape for key, value in network.state_dict().items() if value.is_floating_point()}
    weights = weights_of({key: shape for key, shape in shapes.items() if not key.startswith("logit")})
    save_file(network.state_dict() | weights, folder / "open_clip_model.safetensors")
    # All repositories have the files of a tokenizer. Only models that name one use them.
    tokenizer().save_pretrained(folder)
    return folder


def write_config(folder: Path, model: object, preprocessing: object) -> None:
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocessing}))
