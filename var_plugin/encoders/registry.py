"""Registry of the suites, as data. Other packages register suites in the entry-point group `var_plugin.suites`.

A new suite needs one entry here, or one `SuiteDescription` behind an entry point, and a function that builds its
encoders.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from var_plugin.config import ModelOptions, settings
from var_plugin.encoders.backbones import clap, clip, gemma2, open_clip, pe_av, qwen3_vl, sentence_transformers, xclip
from var_plugin.encoders.custom import is_suite_folder, open_folder
from var_plugin.encoders.hub import Checkpoint
from var_plugin.encoders.suite import SpaceEncoders, Suite, SuiteDescription
from var_plugin.errors import UnknownSuiteError

_LITE = SuiteDescription(
    name="lite",
    summary="a small ALAN on EfficientNet-Lite0, MiniLM and an audio network; runs on a CPU, offline",
    spaces={"scene": ("text", "image", "video"), "sound": ("audio", "text")},
    code_licence="Apache-2.0",
    weights_licence="towers: research and non-commercial (Flickr8k, UCA, UrbanSound8K); MiniLM: MIT; "
    "EfficientNet-Lite0: not stated",
    revision="7",
    megabytes=121,
    languages=("en",),
    needs_network=False,
    build="var_plugin.encoders.lite.build:build",
)

_HUB = SuiteDescription(
    name="sentence-transformers",
    summary="`sentence-transformers:NAME`, any model for text and images or video from the hub or a folder; "
    "video and audio natively where the model takes them",
    spaces={"scene": ("text", "image", "video")},
    code_licence="Apache-2.0",
    weights_licence="of the model",
    revision="of the model",
    megabytes=0,
    languages=("of the model",),
    needs_network=True,
    build="var_plugin.encoders.registry:build_sentence_transformers",
    model="required",
)
_CLIP = replace(
    _HUB,
    name="clip",
    summary="CLIP and CLAP; `clip:NAME` takes another CLIP model from the hub or a folder",
    spaces={"scene": ("text", "image", "video"), "sound": ("audio", "text")},
    weights_licence="of the models: MIT (CLIP ViT-B/32 of LAION), Apache-2.0 (CLAP of LAION)",
    megabytes=1380,
    languages=("en",),
    build="var_plugin.encoders.registry:build_clip_like",
    model="optional",
    default_model="laion/CLIP-ViT-B-32-laion2B-s34B-b79K@1a25a446712ba5ee05982a381eed697ef9b435cf",
)
_SIGLIP2 = replace(
    _CLIP,
    name="siglip2",
    summary="SigLIP 2 and CLAP; `siglip2:NAME` takes another SigLIP model from the hub or a folder",
    weights_licence="of the models: Apache-2.0 (SigLIP 2 of Google, CLAP of LAION)",
    megabytes=2280,
    languages=("many; sounds: en",),
    default_model="google/siglip2-base-patch16-224@75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
)

_XCLIP = replace(
    _CLIP,
    name="xclip",
    summary="X-CLIP, which encodes eight frames together, and CLAP; `xclip:NAME` takes another X-CLIP model",
    weights_licence="of the models: MIT (X-CLIP of Microsoft), Apache-2.0 (CLAP of LAION)",
    megabytes=1560,
    build="var_plugin.encoders.registry:build_xclip",
    default_model="microsoft/xclip-base-patch32@a2e27a78a2b5d802e894b8a1ef14f3a8ce490963",
)
_OPEN_CLIP = replace(
    _CLIP,
    name="open-clip",
    summary="`open-clip:NAME`, any model of open_clip for text and images from the hub or a folder, such as MobileCLIP "
    "and PE-Core, and CLAP",
    weights_licence="of the model; Apache-2.0 (CLAP of LAION)",
    megabytes=0,
    languages=("of the model; sounds: en",),
    build="var_plugin.encoders.registry:build_open_clip",
    model="required",
    default_model="",
    layout="open_clip",
)
_GEMMA2 = SuiteDescription(
    name="gemma2",
    summary="EmbeddingGemma 2: text, image, audio and video in one vector space; `gemma2:NAME` takes another model, "
    "`gemma2@256` keeps 256 of 768 dimensions",
    spaces={"scene": ("text", "image", "audio", "video"), "sound": ("audio", "text")},
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0 (EmbeddingGemma 2 of Google)",
    revision="of the model",
    megabytes=1490,
    languages=("many",),
    needs_network=True,
    build="var_plugin.encoders.registry:build_gemma2",
    model="optional",
    default_model="google/embeddinggemma-2@914f7f89142e33e77833254d9c9b90c3cef7303b",
    dims=gemma2.DIMS,
)
_QWEN3_VL = replace(
    _GEMMA2,
    name="qwen3-vl",
    summary="Qwen3-VL-Embedding: text, image and video in one vector space; `qwen3-vl:NAME` takes another model, "
    "`qwen3-vl@512` keeps 512 of 2,048 dimensions",
    spaces={"scene": ("text", "image", "video")},
    weights_licence="Apache-2.0 (Qwen3-VL-Embedding of Alibaba)",
    megabytes=4260,
    build="var_plugin.encoders.registry:build_qwen3_vl",
    default_model="Qwen/Qwen3-VL-Embedding-2B@9f2f7e710d6d81056aa5c0a4f04764fec6bb7bda",
    dims=qwen3_vl.DIMS,
)
_PE_AV = replace(
    _GEMMA2,
    name="pe-av",
    summary="PE-AV: text, video and audio in one vector space; `pe-av:NAME` takes another model",
    weights_licence="Apache-2.0 (PE-AV of Meta)",
    megabytes=4120,
    languages=("en",),
    build="var_plugin.encoders.registry:build_pe_av",
    default_model="facebook/pe-av-base-16-frame@3fd870e60a1099fb99367b240d41926e183d7112",
    dims=(),
)
_REMOTE = SuiteDescription(
    name="remote",
    summary="`remote:URL` or `remote:URL#MODEL`, a model for texts and images on an OpenAI-compatible server",
    spaces={"scene": ("text", "image", "video")},
    code_licence="Apache-2.0",
    weights_licence="of the model",
    revision="of the model",
    megabytes=0,
    languages=("of the model",),
    needs_network=True,
    build="var_plugin.encoders.remote:build",
    model="required",
    is_remote=True,
)
_ALAN_I3D = SuiteDescription(
    name="alan-i3d",
    summary="the paper: ALAN models that you trained, on I3D and VGGish; `alan-i3d:FOLDER` takes those in a folder",
    spaces={"alan-text": ("text", "video"), "alan-audio": ("audio", "video")},
    code_licence="Apache-2.0",
    weights_licence="of the models: yours (ALAN), Apache-2.0 (I3D of DeepMind, VGGish of Google, BERT of Google)",
    revision="of the model",
    megabytes=1200,
    languages=("en",),
    needs_network=False,
    build="var_plugin.encoders.alan_i3d:build",
    model="optional",
    default_model="alan-i3d",
    install_hint="run: var-plugin train ucfcrime-ar --annotations CAPTIONS --rgb I3D_RGB --flow I3D_FLOW "
    "--out MODELS/alan-i3d/alan-text, or name a folder that holds the trained models: alan-i3d:FOLDER",
)

_BUILT_IN = (_LITE, _CLIP, _SIGLIP2, _XCLIP, _OPEN_CLIP, _GEMMA2, _PE_AV, _QWEN3_VL, _HUB, _REMOTE, _ALAN_I3D)
_ENTRY_POINTS = "var_plugin.suites"


def descriptions() -> dict[str, SuiteDescription]:
    """Return all suites by name: the built-in ones, then those of installed packages."""
    suites = {description.name: description for description in _BUILT_IN}
    for entry in entry_points(group=_ENTRY_POINTS):
        suites.setdefault(entry.name, entry.load())
    return suites


def load_suite(name: str | Path = "lite", options: ModelOptions | None = None, *, allow_remote: bool = True) -> Suite:
    """Return a suite by name. Its weights load on first use.

    A Hugging Face Hub model without a revision is pinned to its current commit. The name of the suite, and every index
    built with it, contains that commit.

    Args:
        name: a name of the suite table, `SUITE:MODEL` with the name or folder of a model or the URL of a server,
            `SUITE@DIM` or `SUITE@DIM:MODEL` with a dimension, or a folder with a `suite.json`.
        options: where models are, and how they run. Default: from the settings.
        allow_remote: whether the suite may send texts and images to a server.

    Raises:
        UnknownSuiteError: the suite does not exist, takes no model, requires one, has no such dimension, or is remote
            and remote suites are not allowed.
        MissingWeightsError: a pretrained model is not found.
        As `remote.pinned_model` and `remote.build` for a remote suite, and as `open_folder` for a folder.
    """
    options = options or settings()
    if is_suite_folder(name):
        return open_folder(Path(name), lambda base: load_suite(base, options, allow_remote=allow_remote), options)
    name = str(name)
    suites = descriptions()
    prefix, _, model = name.partition(":")
    family, at, dim = prefix.partition("@")
    if family not in suites:
        raise UnknownSuiteError(
            f"no suite is called '{name}'", why=f"the suites are {', '.join(suites)}", fix="choose one"
        )
    description = suites[family]
    if (model and description.model == "none") or (not model and description.model == "required"):
        raise UnknownSuiteError(
            f"no suite is called '{name}'",
            why=f"'{family}' {'takes no model name' if model else 'needs a model name, as in NAME:MODEL'}",
            fix="see: var-plugin suites",
        )
    if description.is_remote and not allow_remote:
        raise UnknownSuiteError(
            f"the suite '{name}' is not loaded", why="it sends texts and images to a server", fix="name it explicitly"
        )
    if at and dim not in map(str, description.dims):
        raise UnknownSuiteError(
            f"no suite is called '{name}'",
            why=f"'{family}' can keep {', '.join(map(str, description.dims))} dimensions"
            if description.dims
            else f"the dimension of '{family}' cannot be chosen",
            fix="choose one" if description.dims else f"use {family}",
        )
    module, _, function = description.build.partition(":")
    build = getattr(import_module(module), function)
    if description.model == "none":
        return Suite(description, build(options), fps=options.fps, cache=options.cache)
    hint = "" if model else description.install_hint
    if description.is_remote:
        from var_plugin.encoders.remote import pinned_model

        pinned = pinned_model(model, options)
    else:
        pinned = Checkpoint(model or description.default_model, hint, options, description.layout).pinned
    description = replace(description, name=f"{prefix}:{pinned}" if model else prefix)
    truncation = (int(dim) if dim else None,) if description.dims else ()
    return Suite(description, build(pinned, options, *truncation), fps=options.fps, cache=options.cache)


CLAP = "laion/larger_clap_general@ada0c23a36c4e8582805bb38fec3905903f18b41"


def build_clip_like(model: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the `scene` space of a CLIP or SigLIP model and the `sound` space of CLAP.

    Raises:
        MissingWeightsError: a model is not found.
    """
    return {"scene": clip.scene_space(Checkpoint(model, options=options)), "sound": _clap(options)}


def build_xclip(model: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """As `build_clip_like`, for an X-CLIP model."""
    return {"scene": xclip.scene_space(Checkpoint(model, options=options)), "sound": _clap(options)}


def build_open_clip(model: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """As `build_clip_like`, for a model of open_clip. Raises as `open_clip.scene_space`."""
    checkpoint = Checkpoint(model, options=options, layout="open_clip")
    return {"scene": open_clip.scene_space(checkpoint), "sound": _clap(options)}


def build_gemma2(model: str, options: ModelOptions, dim: int | None) -> dict[str, SpaceEncoders]:
    """Return the spaces of an EmbeddingGemma 2 model. Raises as `gemma2.spaces`."""
    return gemma2.spaces(Checkpoint(model, options=options), dim)


def build_pe_av(model: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the spaces of a PE-AV model. Raises as `pe_av.spaces`."""
    return pe_av.spaces(Checkpoint(model, options=options))


def build_qwen3_vl(model: str, options: ModelOptions, dim: int | None) -> dict[str, SpaceEncoders]:
    """Return the space of a Qwen3-VL-Embedding model. Raises as `qwen3_vl.spaces`."""
    return qwen3_vl.spaces(Checkpoint(model, options=options), dim)


def build_sentence_transformers(model: str, options: ModelOptions) -> dict[str, SpaceEncoders]:
    """Return the spaces of a model. Raises as `sentence_transformers.spaces`."""
    return sentence_transformers.spaces(Checkpoint(model, options=options))


def _clap(options: ModelOptions) -> SpaceEncoders:
    return clap.sound_space(Checkpoint(CLAP, options=options))
