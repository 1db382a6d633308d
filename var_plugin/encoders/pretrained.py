"""The suites on pretrained models of others, each with a model that can be exchanged: `clip:organisation/name`."""

from __future__ import annotations

from var_plugin.encoders.backbones import clap, clip, sentence_transformers, xclip
from var_plugin.encoders.backbones.checkpoint import Checkpoint
from var_plugin.encoders.suite import SpaceEncoders

CLAP = "laion/larger_clap_general@ada0c23a36c4e8582805bb38fec3905903f18b41"


def build_clip_like(model: str) -> dict[str, SpaceEncoders]:
    """Return the spaces of a CLIP or SigLIP model for what is seen and of CLAP for what is heard.

    Raises:
        MissingWeightsError: a model is nowhere to be had.
    """
    return {"scene": clip.scene_space(Checkpoint(model)), "sound": clap.sound_space(Checkpoint(CLAP))}


def build_xclip(model: str) -> dict[str, SpaceEncoders]:
    """As `build_clip_like`, for an X-CLIP model."""
    return {"scene": xclip.scene_space(Checkpoint(model)), "sound": clap.sound_space(Checkpoint(CLAP))}


def build_sentence_transformers(model: str) -> dict[str, SpaceEncoders]:
    """Return the one space of a model; errors as `sentence_transformers.scene_space`."""
    return {"scene": sentence_transformers.scene_space(Checkpoint(model))}
