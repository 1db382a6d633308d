"""Qwen3-VL-Embedding through sentence-transformers: text, image and video in one vector space.

Instructions, frame rate and pooling are those of the published code (github.com/QwenLM/Qwen3-VL-Embedding).
"""

from __future__ import annotations

from var_plugin.encoders.backbones.clip import require_model_type
from var_plugin.encoders.backbones.sentence_transformers import (
    InputOptions,
    SentenceTransformersNetwork,
    VideoSampling,
    require_pooling,
    spaces_of,
)
from var_plugin.encoders.backbones.windows import WINDOW_SECONDS
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.suite import SpaceEncoders

DIMS = (1024, 512, 256)
"""Matryoshka dimensions below the full dimension."""
QUERY_PROMPT = "Find a video that contains the following visual content."
"""Instruction of text queries: that of the published evaluation of text-to-video retrieval on MSR-VTT."""
DOCUMENT_PROMPT = "Represent the user's input."
"""Default instruction of the published code, for images and video."""
FPS = 1.0
"""Frame rate of the published code."""

_POOLING = "lasttoken"
_INPUTS = InputOptions(
    query_prompt=QUERY_PROMPT,
    document_prompt=DOCUMENT_PROMPT,
    pooling=_POOLING,
    size=(448, 640),  # multiples of the 32 pixels of a token: 280 tokens per image or pair of frames
    processing={"chat_template": {"add_generation_prompt": True}},
    # In the published code, the expanded frames replace the whole string. transformers 5 replaces the inner token only.
    template={"<|vision_start|><|video_pad|><|vision_end|>": "<|video_pad|>"},
)
_SAMPLING = VideoSampling(FPS, round(WINDOW_SECONDS * FPS), min_frames=2)


def spaces(checkpoint: Checkpoint, dim: int | None = None) -> dict[str, SpaceEncoders]:
    """Return the space `scene` of a model. Weights are loaded on first use.

    Args:
        checkpoint: the model.
        dim: number of leading dimensions that are kept. None: all.

    Raises:
        MissingDependencyError: sentence-transformers or torchvision is not installed.
        MissingWeightsError: see `Checkpoint.folder`.
        UnknownSuiteError: the model has another type.
        InvalidInputError: the model is not pooled by its last token.
    """
    require_model_type(checkpoint, ("qwen3_vl",), "only Qwen3-VL-Embedding models are supported here")
    require_pooling(checkpoint, _POOLING, "Qwen3-VL-Embedding")
    network = SentenceTransformersNetwork(checkpoint, _INPUTS, dim)
    return spaces_of(
        network, frozenset(("text", "image", "video")), int(checkpoint.config.text_config.hidden_size), _SAMPLING
    )
