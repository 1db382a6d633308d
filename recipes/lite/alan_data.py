"""Read the data sets and features that all ALAN recipes share, and parse their common arguments."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.lite.alan_examples import Examples, cached_examples
from recipes.lite.flickr8k import CaptionedImages, Part, read_flickr8k
from var_plugin.config import settings
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.weights import LITE


@dataclass(frozen=True)
class AlanData:
    """What the lite ALAN is trained and measured on.

    Attributes:
        images: the parts of Flickr8k.
        image_encoder: the encoder of the examples' images.
        examples: the features of the clips.
    """

    images: Mapping[Part, CaptionedImages]
    image_encoder: LiteImageEncoder
    examples: Examples


def data_parser(program: str, purpose: str | None, *, sentences: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the arguments for `read_data` and, if `sentences` is true, for `read_sentences`.

    Args:
        program: the module in `recipes.lite` that is run.
        purpose: the description in its help.
        sentences: whether the program needs sentences about motion.
    """
    parser = argparse.ArgumentParser(prog=f"python -m recipes.lite.{program}", description=purpose)
    parser.add_argument("--fights", type=Path, required=True, help="folder of cctv_fights")
    parser.add_argument("--flickr8k", type=Path, required=True, help="folder with captions.csv and images/")
    if sentences:
        parser.add_argument("--uca", type=Path, required=True, help="folder of UCF-Crime Annotation")
    parser.add_argument("--cache", type=Path, required=True, help="file (.npz) for the features of the clips")
    return parser


def measuring_parser(program: str, purpose: str | None, *, sentences: bool = True) -> argparse.ArgumentParser:
    """Return the parser of `data_parser` with `--weights`, for programs that measure weights."""
    parser = data_parser(program, purpose, sentences=sentences)
    parser.add_argument(
        "--weights", type=Path, default=LITE, help="folder with the weights of the suite (default: the shipped ones)"
    )
    return parser


def read_data(arguments: argparse.Namespace, weights: Path) -> AlanData:
    """Read the data sets that the arguments name; `weights` is the folder of the image encoder's weights.

    Raises:
        MediaNotFoundError: a data set is not there.
    """
    image_encoder = LiteImageEncoder(weights, settings().cache)
    return AlanData(
        read_flickr8k(arguments.flickr8k),
        image_encoder,
        cached_examples(arguments.fights, arguments.flickr8k, image_encoder, arguments.cache),
    )
