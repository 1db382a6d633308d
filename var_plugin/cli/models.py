"""Commands for models: list suites, encode, train, evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from var_plugin.cli.shared import JsonOption, SuiteOption, app, print_json
from var_plugin.errors import InvalidInputError

if TYPE_CHECKING:
    from var_plugin.evaluation.benchmarks.load import BenchmarkFiles

BenchmarkArgument = Annotated[Literal["ucfcrime-ar", "xdviolence-ar"], typer.Argument(help="Which benchmark.")]
AnnotationsOption = Annotated[Path | None, typer.Option(help="Folder with the caption workbooks, or with the lists.")]
RgbOption = Annotated[Path | None, typer.Option(help="Folder with I3D-RGB features.")]
FlowOption = Annotated[Path | None, typer.Option(help="Folder with I3D-Flow features; without it, RGB alone.")]
AudioOption = Annotated[Path | None, typer.Option(help="Folder with VGGish features, for XDViolence-AR.")]


@app.command()
def suites(as_json: JsonOption = False) -> None:
    """List the suites: what each takes, weighs and permits."""
    from dataclasses import asdict

    from var_plugin.encoders.suites import descriptions

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
    from var_plugin.encoders.suites import load_suite
    from var_plugin.settings import settings

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
) -> None:
    """Write clip features of one's own videos, as `train` and `evaluate` read them."""
    from var_plugin.encoders.suites import load_suite
    from var_plugin.evaluation.features import extract_features
    from var_plugin.settings import settings

    failed = extract_features(
        videos,
        out,
        load_suite(suite or settings().suite),
        rate=rate,
        report=lambda video, problem: print(f"{video}: {problem or 'done'}", file=sys.stderr),
    )
    raise typer.Exit(1 if failed else 0)


@app.command()
def train(
    benchmark: BenchmarkArgument,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and the trained model.")],
    annotations: AnnotationsOption = None,
    rgb: RgbOption = None,
    flow: FlowOption = None,
    audio: AudioOption = None,
    text_backbone: Annotated[
        str, typer.Option(help="A BERT from the hub or a folder.")
    ] = "google-bert/bert-base-cased",
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Pairs per device and step.")] = 64,
    accumulation: Annotated[int, typer.Option(help="Steps whose gradients are added up.")] = 1,
    precision: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="fp32, or mixed precision.")] = "fp32",
    seed: Annotated[int, typer.Option(help="Of weights, order and sampling.")] = 0,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train ALAN in the paper's settings; the same command goes on where a killed training stopped."""
    from var_plugin.training.settings import TrainingSettings
    from var_plugin.training.train import train_benchmark

    settings = TrainingSettings(
        epochs=epochs,
        batch_size=batch_size,
        accumulation=accumulation,
        precision=precision,
        seed=seed,
        tensorboard=tensorboard,
    )
    files = _files(benchmark, annotations, rgb, flow, audio)
    result = train_benchmark(files, out, settings=settings, text_backbone=text_backbone)
    if as_json:
        print_json({"folder": str(result.folder), "epoch": result.best_epoch, "sum_r": result.validation_recall_sum})
    else:
        print(
            f"{result.folder}: epoch {result.best_epoch:.0f} is best, SumR {result.validation_recall_sum:.1f} held out"
        )


@app.command()
def evaluate(
    benchmark: BenchmarkArgument,
    model: Annotated[Path | None, typer.Option(help="A trained model; without it our row stays untested.")] = None,
    annotations: AnnotationsOption = None,
    rgb: RgbOption = None,
    flow: FlowOption = None,
    audio: AudioOption = None,
    merge_equal: Annotated[bool, typer.Option("--merge-equal", help="Count equal captions as one query.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the results table of a benchmark: published rows, chance, and a trained model of one's own."""
    from var_plugin.evaluation.evaluate import benchmark_rows, measure_model
    from var_plugin.evaluation.report import QUERY_LETTER, markdown
    from var_plugin.evaluation.report import as_json as rows_as_json

    measured = None
    if model is not None:
        measured = measure_model(model, _files(benchmark, annotations, rgb, flow, audio), merge_equal=merge_equal)
    rows = benchmark_rows(benchmark, measured, note=str(model or ""))
    if as_json:
        print_json(rows_as_json(rows))
    else:
        print(markdown(rows, query=QUERY_LETTER[benchmark]))


def _files(
    benchmark: Literal["ucfcrime-ar", "xdviolence-ar"],
    annotations: Path | None,
    rgb: Path | None,
    flow: Path | None,
    audio: Path | None,
) -> BenchmarkFiles:
    from var_plugin.evaluation.benchmarks.load import BenchmarkFiles

    if annotations is None or rgb is None:
        raise InvalidInputError(
            f"{benchmark} needs its annotations and features",
            why="videos and features cannot be shipped",
            fix="pass --annotations FOLDER --rgb FOLDER, and --flow and --audio where there are any",
        )
    return BenchmarkFiles(benchmark, annotations, rgb, flow, audio)
