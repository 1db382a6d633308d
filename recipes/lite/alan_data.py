"""What the programs around the lite ALAN read: to each, the same arguments name the same collections and features."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recipes.lite.alan_examples import Examples, cached_examples
from recipes.lite.flickr8k import CaptionedImages, Part, read_flickr8k
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.weights import LITE


@dataclass(frozen=True)
class AlanData:
    """What the lite ALAN is trained and measured on."""

    images: Mapping[Part, CaptionedImages]
    """Flickr8k."""
    stills: LiteImageEncoder
    """What the vectors of the examples come from."""
    examples: Examples


def data_parser(program: str, purpose: str | None, *, sentences: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the arguments for `read_data` and, where `sentences` are wanted, for `read_sentences`.

    Args:
        program: the module in `var_plugin.training` that is run.
        purpose: what its help says.
        sentences: whether it trains, for which it has to know sentences about motion.
    """
    parser = argparse.ArgumentParser(prog=f"python -m var_plugin.training.{program}", description=purpose)
    parser.add_argument("--fights", type=Path, required=True, help="folder of cctv_fights")
    parser.add_argument("--flickr8k", type=Path, required=True, help="folder with captions.csv and images/")
    if sentences:
        parser.add_argument("--uca", type=Path, required=True, help="folder of UCF-Crime Annotation")
    parser.add_argument("--cache", type=Path, required=True, help="file (.npz) that keeps the clips' features")
    return parser


def measuring_parser(program: str, purpose: str | None, *, sentences: bool = True) -> argparse.ArgumentParser:
    """Return the same with `--weights`, for programs that measure weights and write none."""
    parser = data_parser(program, purpose, sentences=sentences)
    parser.add_argument("--weights", type=Path, default=LITE, help="folder with all weights of the suite")
    return parser


def read_data(arguments: argparse.Namespace, weights: Path) -> AlanData:
    """Read what the arguments name; `weights` is the folder of the stills' weights, to which the cache belongs.

    Raises:
        MediaNotFoundError: a collection is not there.
    """
    stills = LiteImageEncoder(weights)
    return AlanData(
        read_flickr8k(arguments.flickr8k),
        stills,
        cached_examples(arguments.fights, arguments.flickr8k, stills, arguments.cache),
    )
