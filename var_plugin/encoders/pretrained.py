"""The suites on pretrained models of others, each with a model that can be exchanged: `clip:organisation/name`."""

from __future__ import annotations

from var_plugin.encoders.backbones import clap, clip, sentence_transformers
from var_plugin.encoders.backbones.checkpoint import Checkpoint
from var_plugin.encoders.suite import SpaceEncoders

CLIP = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
SIGLIP2 = "google/siglip2-base-patch16-224"
CLAP = "laion/larger_clap_general"


def build_clip(model: str = CLIP) -> dict[str, SpaceEncoders]:
    """Return the spaces of a CLIP model for what is seen and of CLAP for what is heard.

    Raises:
        MissingWeightsError: a model is nowhere to be had.
    """
    return {"scene": clip.scene_space(Checkpoint(model)), "sound": clap.sound_space(Checkpoint(CLAP))}


def build_siglip2(model: str = SIGLIP2) -> dict[str, SpaceEncoders]:
    """As `build_clip`, with a SigLIP model."""
    return build_clip(model)


def build_sentence_transformers(model: str) -> dict[str, SpaceEncoders]:
    """Return the one space of a model; errors as `sentence_transformers.scene_space`."""
    return {"scene": sentence_transformers.scene_space(Checkpoint(model))}
