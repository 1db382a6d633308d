"""Commands for models: list suites, encode, extract features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from var_plugin.cli.options import JsonOption, SuiteOption, app, print_json
from var_plugin.escaping import printable


@app.command()
def suites(as_json: JsonOption = False) -> None:
    """List the suites: what each takes, weighs and permits."""
    from dataclasses import asdict

    from var_plugin.encoders.registry import descriptions

    listed = descriptions().values()
    if as_json:
        print_json([asdict(description) for description in listed])
        return
    for suite in listed:
        print(f"{suite.name}: {suite.summary}")
        for space, modalities in suite.spaces.items():
            print(f"  space {space}: {', '.join(modalities)}")
        network = "needs the network once" if suite.needs_network else "needs no network"
        size = f"{suite.megabytes} MB" if suite.megabytes else "size of the model"
        print(f"  {size}, {network}, languages: {', '.join(suite.languages)}")
        print(f"  licence of the code: {suite.code_licence}; of the weights: {suite.weights_licence}")


@app.command()
def encode(
    modality: Annotated[Literal["text", "image", "audio", "video"], typer.Argument(help="What the items are.")],
    items: Annotated[list[str], typer.Argument(help="Sentences, or files.")],
    space: Annotated[str | None, typer.Option(help="Space of the vectors, where several take the modality.")] = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the vectors that a store would hold, one line each, or as JSON."""
    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite

    chosen = load_suite(suite or settings().suite)
    vectors = chosen.encode(modality, items, space=space).tolist()
    if as_json:
        print_json([{"item": item, "vector": vector} for item, vector in zip(items, vectors, strict=True)])
    else:
        for vector in vectors:
            print(" ".join(f"{value:.6f}" for value in vector))


@app.command()
def extract(
    videos: Annotated[Path, typer.Argument(help="A video, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the features, one .npy per video.")],
    suite: SuiteOption = None,
    rate: Annotated[float, typer.Option(help="Clips per second.", min=0.01)] = 2.0,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's: I3D-RGB, I3D-Flow and VGGish, in folders of their own.")
    ] = False,
    without_flow: Annotated[bool, typer.Option("--without-flow", help="With --paper: no I3D-Flow.")] = False,
) -> None:
    """Write clip features of one's own videos, as `train` and `evaluate` read them."""
    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite
    from var_plugin.evaluation.features import extract_features, extract_paper_features

    def report(video: Path, problem: str) -> None:
        print(printable(f"{video}: {problem or 'done'}"), file=sys.stderr)

    if paper:
        flow = None if without_flow else settings().optical_flow
        failed = extract_paper_features(videos, out, flow=flow, report=report)
    else:
        failed = extract_features(videos, out, load_suite(suite or settings().suite), rate=rate, report=report)
    raise typer.Exit(1 if failed else 0)


@app.command()
def convert(
    name: Annotated[
        Literal["i3d-rgb", "i3d-flow", "vggish", "vggish-pca"], typer.Argument(help="Network of the checkpoint.")
    ],
    file: Annotated[Path, typer.Argument(help="The checkpoint as it was published.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for models. [env: VAR_PLUGIN_MODEL_DIR]", show_default=False)
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Of the file, if it is not the pinned one.")] = None,
) -> None:
    """Convert a published checkpoint of the paper's networks to safetensors, once."""
    from var_plugin.encoders.convert import convert as convert_checkpoint

    print(convert_checkpoint(name, file, out, sha256))
