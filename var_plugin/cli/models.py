"""Commands for models: list suites, calibrate, encode, extract features, convert checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from var_plugin.cli.options import (
    IndexOption,
    JsonOption,
    SuiteOption,
    app,
    example,
    opened_index,
    parse_path,
    print_json,
)
from var_plugin.errors import InvalidInputError
from var_plugin.escaping import printable


@app.command(epilog=example("suites --json"))
def suites(as_json: JsonOption = False) -> None:
    """List the suites, with their sizes and licences."""
    from dataclasses import asdict

    from var_plugin.encoders.registry import descriptions

    suites = descriptions().values()
    if as_json:
        print_json([asdict(suite) for suite in suites])
        return
    for suite in suites:
        print(f"{suite.name}: {suite.summary}")
        for space, modalities in suite.spaces.items():
            print(f"  space {space}: {', '.join(modalities)}")
        if suite.is_remote:
            network = "sends texts and images to a server"
        else:
            network = "downloads its weights once" if suite.needs_network else "needs no network"
        size = f"{suite.megabytes} MB" if suite.megabytes else "size depends on the model"
        print(f"  {size}, {network}, languages: {', '.join(suite.languages)}")
        print(f"  code licence: {suite.code_licence}; weights licence: {suite.weights_licence}")


@app.command(
    epilog=example(
        "calibrate --suite clip --images photos/ --captions captions.csv --out my-clip/",
        "calibrate --index footage.db --out my-suite/",
    )
)
def calibrate(
    out: Annotated[Path, typer.Option(help="Folder for the calibrated suite.", metavar="PATH", parser=parse_path)],
    suite: SuiteOption = None,
    location: IndexOption = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder with captioned images.", metavar="PATH", parser=parse_path)
    ] = None,
    captions: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns image and caption.", metavar="PATH", parser=parse_path),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the scores of a suite to your footage or images. Write a suite folder.

    Captioned images give search results a confidence and a grade. An index gives the scale of the scores. The vectors
    stay the same, so an index of the suite can be searched with the folder.
    """
    from dataclasses import asdict, replace

    from var_plugin.config import settings
    from var_plugin.encoders.custom import check_new_folder
    from var_plugin.encoders.registry import load_suite
    from var_plugin.evaluation.calibrate import (
        SuiteCalibration,
        calibrate_on_images,
        read_captioned_images,
        write_calibrated_suite,
    )

    if (images is None) != (captions is None):
        raise InvalidInputError("--images and --captions belong together", fix="give both, or neither")
    check_new_folder(out)
    data = read_captioned_images(images, captions) if images and captions else None
    if location is not None:
        with opened_index(location, suite) as index:
            encoders, statistics = index.suite, index.score_statistics()
        calibration = SuiteCalibration(statistics)
        if data:
            calibration = replace(calibrate_on_images(encoders, data), statistics=statistics)
    elif data:
        encoders = load_suite(suite or settings().suite)
        calibration = calibrate_on_images(encoders, data)
    else:
        raise InvalidInputError("there is nothing to calibrate with", fix="give --images and --captions, or --index")
    write_calibrated_suite(encoders, calibration, out)
    if as_json:
        print_json(asdict(calibration))
        return
    for modality, spread in calibration.statistics.items():
        print(f"{modality}: similarity to unrelated content {spread.mean:.3f}, standard deviation {spread.std:.3f}")
    if held_out := calibration.held_out:
        print(
            f"confidence in {held_out.searches:,} held-out searches: mean {held_out.mean_confidence:.0%}, "
            f"{held_out.right:.0%} are right; Brier score {held_out.brier:.3f}, "
            f"of a constant confidence {held_out.brier_of_constant:.3f}"
        )
    print(f"wrote {printable(str(out))}; use it with --suite {printable(str(out))}")


@app.command(epilog=example('encode text "a man in a car" --json', "encode image bike.jpg --suite siglip2"))
def encode(
    modality: Annotated[Literal["text", "image", "audio", "video"], typer.Argument(help="Modality of the items.")],
    items: Annotated[list[str], typer.Argument(help="Texts, or paths of files.")],
    space: Annotated[
        str | None, typer.Option(help="Space to encode into. Needed if several spaces support the modality.")
    ] = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the vectors of texts or files, one per line or as JSON."""
    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite

    vectors = load_suite(suite or settings().suite).encode(modality, items, space=space).tolist()
    if as_json:
        print_json([{"item": item, "vector": vector} for item, vector in zip(items, vectors, strict=True)])
    else:
        for vector in vectors:
            print(" ".join(f"{value:.6f}" for value in vector))


@app.command(epilog=example("extract cams/ --out features/", "extract cams/ --out features/ --paper --without-flow"))
def extract(
    videos: Annotated[Path, typer.Argument(help="A video file, or a folder with video files.", parser=parse_path)],
    out: Annotated[
        Path, typer.Option(help="Folder for the features, one .npy file per video.", metavar="PATH", parser=parse_path)
    ],
    suite: SuiteOption = None,
    rate: Annotated[float, typer.Option(help="Clips per second.", min=0.01)] = 2.0,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Extract the ALAN paper's features (I3D-RGB, I3D-Flow, VGGish) to subfolders."),
    ] = False,
    without_flow: Annotated[bool, typer.Option("--without-flow", help="With --paper: omit I3D-Flow.")] = False,
) -> None:
    """Extract clip features of videos, for `train` and `evaluate`."""
    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite
    from var_plugin.evaluation.features import extract_features, extract_paper_features

    def report(video: Path, problem: str) -> None:
        print(printable(f"{video}: {problem or 'extracted'}"), file=sys.stderr)

    if paper:
        flow = None if without_flow else settings().optical_flow
        failed = extract_paper_features(videos, out, flow=flow, options=settings(), report=report)
    else:
        failed = extract_features(videos, out, load_suite(suite or settings().suite), rate=rate, report=report)
    raise typer.Exit(1 if failed else 0)


@app.command(epilog=example("convert vggish pytorch_vggish.pth"))
def convert(
    name: Annotated[
        Literal["i3d-rgb", "i3d-flow", "vggish", "vggish-pca"], typer.Argument(help="Network of the checkpoint.")
    ],
    file: Annotated[Path, typer.Argument(help="The published checkpoint file.", parser=parse_path)],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for models. [env: VAR_PLUGIN_MODEL_DIR]", show_default=False, metavar="PATH", parser=parse_path
        ),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Expected SHA-256 of the file, if it differs from the pinned one.")
    ] = None,
) -> None:
    """Convert a network of the ALAN paper to safetensors. No code of its published checkpoint is run."""
    from var_plugin.config import settings
    from var_plugin.encoders.convert import convert as convert_checkpoint

    print(convert_checkpoint(name, file, out or settings().model_dir, sha256))
