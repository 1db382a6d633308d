"""Commands that train and measure: the paper's ALAN on features, and any suite on videos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from var_plugin.cli.options import JsonOption, SuiteOption, app, print_json
from var_plugin.errors import InvalidInputError
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.evaluation.benchmarks.load import BenchmarkFiles
    from var_plugin.evaluation.captions import Captioned, CollectionName
    from var_plugin.evaluation.paper_results import BenchmarkName
    from var_plugin.evaluation.report import Row

Collection = Literal["own", "ucfcrime-ar", "xdviolence-ar", "uca"]

CollectionArgument = Annotated[Collection, typer.Argument(help="One's own videos, or a public benchmark.")]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option(help="Own videos: a CSV of captions. Else the folder with the workbooks, the lists, or UCA."),
]
VideosOption = Annotated[Path | None, typer.Option(help="Folder with the videos; what embeds them is --suite.")]
RgbOption = Annotated[Path | None, typer.Option(help="Folder with I3D-RGB features, instead of videos.")]
FlowOption = Annotated[Path | None, typer.Option(help="Folder with I3D-Flow features; without it, RGB alone.")]
AudioOption = Annotated[Path | None, typer.Option(help="Folder with VGGish features, for XDViolence-AR.")]
SeedOption = Annotated[int, typer.Option(help="Of weights, order and sampling.")]
_PAPER_EPOCHS, _OWN_EPOCHS = 60, 40


@app.command()
def train(
    collection: CollectionArgument,
    out: Annotated[Path, typer.Option(help="Folder for the trained model, or for the suite.")],
    annotations: AnnotationsOption = None,
    videos: VideosOption = None,
    suite: SuiteOption = None,
    rgb: RgbOption = None,
    flow: FlowOption = None,
    audio: AudioOption = None,
    text_backbone: Annotated[
        str, typer.Option(help="A BERT from the hub or a folder; with features.")
    ] = "google-bert/bert-base-cased@cd5ef92a9fb2f889e972770a36d4ed042daf221e",
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training part; default: 60, or 40 on videos.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Pairs per device and step.")] = 64,
    accumulation: Annotated[int, typer.Option(help="Steps whose gradients are added up; with features.")] = 1,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="fp32, or mixed precision; with features.")
    ] = "fp32",
    seed: SeedOption = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events; with features.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train ALAN: its towers on a suite, from captioned videos; or the paper's model, from I3D features.

    With --videos, what comes out is a folder that --suite takes. With --rgb, the same command goes on where a killed
    training stopped.
    """
    if videos is not None:
        examples = _examples(collection, videos, annotations, "train")
        _train_towers(suite, examples, out, epochs or _OWN_EPOCHS, batch_size, seed, as_json)
        return
    from var_plugin.training.config import TrainingSettings
    from var_plugin.training.train import train_benchmark

    settings = TrainingSettings(
        epochs=epochs or _PAPER_EPOCHS,
        batch_size=batch_size,
        accumulation=accumulation,
        precision=precision,
        seed=seed,
        tensorboard=tensorboard,
    )
    files = _files(collection, annotations, rgb, flow, audio)
    result = train_benchmark(files, out, settings=settings, text_backbone=text_backbone)
    if as_json:
        print_json({"folder": str(result.folder), "epoch": result.best_epoch, "sum_r": result.validation_recall_sum})
    else:
        print(
            f"{result.folder}: epoch {result.best_epoch:.0f} is best, SumR {result.validation_recall_sum:.1f} held out"
        )


def _train_towers(
    suite: str | None, examples: list[Captioned], out: Path, epochs: int, batch_size: int, seed: int, as_json: bool
) -> None:
    from var_plugin.config import settings
    from var_plugin.training.finetune import RefineSettings
    from var_plugin.training.finetune_run import numbers, train_suite

    refined = train_suite(
        suite or settings().suite,
        examples,
        out,
        settings=RefineSettings(epochs=epochs, batch_size=batch_size, seed=seed),
        say=lambda message: print(message, file=sys.stderr),
    )
    if as_json:
        print_json({"folder": str(out), **numbers(refined)})
        return
    came = f"epoch {refined.epoch} is best" if refined.towers_kept else "nothing was better than the suite itself"
    print(f"{out}: {came}; {refined.held_out} queries held out, SumR {refined.start:.1f} → {refined.best:.1f}")


@app.command()
def evaluate(
    collection: CollectionArgument,
    model: Annotated[Path | None, typer.Option(help="A model that was trained on features.")] = None,
    annotations: AnnotationsOption = None,
    videos: VideosOption = None,
    suite: SuiteOption = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of a video that make its vector, such as 12; default: all.", min=1)
    ] = None,
    rgb: RgbOption = None,
    flow: FlowOption = None,
    audio: AudioOption = None,
    merge_equal: Annotated[
        bool, typer.Option("--merge-equal", help="Count equal captions as one query; with --model.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print a results table: published rows, chance, and what was measured here, with 95 % intervals.

    Intervals need at least two queries and two videos.

    With --videos a suite is measured, zero-shot and, for a trained folder, trained; with --model a model on features.
    """
    from var_plugin.evaluation.moments_report import moments_as_json, moments_markdown
    from var_plugin.evaluation.report import as_json as rows_as_json
    from var_plugin.evaluation.report import markdown

    if videos is None:
        rows = _model_rows(collection, model, annotations, rgb, flow, audio, merge_equal)
        moments = []
    else:
        from var_plugin.config import settings
        from var_plugin.encoders.registry import load_suite
        from var_plugin.evaluation.clip_cache import clip_cache
        from var_plugin.evaluation.evaluate_suite import measure
        from var_plugin.evaluation.moments_report import video_rows

        chosen = load_suite(suite or settings().suite)
        examples = _examples(collection, videos, annotations, "test")
        measured = measure(
            chosen,
            examples,
            lambda one: clip_cache(one).read(
                (example.video for example in examples),
                lambda video: print(printable(f"{video}: seen"), file=sys.stderr),
            ),
            frames=frames,
        )
        rows, moments = video_rows(collection, measured), [line for line in measured if line.moments]
    if as_json:
        print_json(rows_as_json(rows) + moments_as_json(moments))
        return
    if rows:
        print(markdown(rows, query="A" if collection == "xdviolence-ar" else "T"))
    if moments:
        print(moments_markdown(moments))


def _model_rows(
    collection: Collection,
    model: Path | None,
    annotations: Path | None,
    rgb: Path | None,
    flow: Path | None,
    audio: Path | None,
    merge_equal: bool,
) -> list[Row]:
    from var_plugin.evaluation.evaluate import benchmark_rows, measure_model

    benchmark = _benchmark(collection)
    measured = None
    if model is not None:
        measured = measure_model(model, _files(collection, annotations, rgb, flow, audio), merge_equal=merge_equal)
    return benchmark_rows(benchmark, measured, note=str(model or ""))


def _examples(
    collection: CollectionName, videos: Path, annotations: Path | None, split: Literal["train", "test"]
) -> list[Captioned]:
    from var_plugin.evaluation.captions import captioned

    if annotations is None:
        raise InvalidInputError(
            f"{collection} needs annotations",
            why="they say what is to be found in the videos",
            fix="pass --annotations: a CSV with the columns video and caption, or the folder of the benchmark",
        )
    return captioned(collection, videos, annotations, split)


def _benchmark(collection: Collection) -> BenchmarkName:
    """Return the benchmark, of those that the paper has; the others are measured on videos alone."""
    if collection in ("own", "uca"):
        raise InvalidInputError(
            f"{collection} needs videos", why="there are no I3D features for it", fix="pass --videos FOLDER"
        )
    return cast("BenchmarkName", collection)


def _files(
    collection: Collection, annotations: Path | None, rgb: Path | None, flow: Path | None, audio: Path | None
) -> BenchmarkFiles:
    from var_plugin.evaluation.benchmarks.load import BenchmarkFiles

    benchmark = _benchmark(collection)
    if annotations is None or rgb is None:
        raise InvalidInputError(
            f"{benchmark} needs its annotations and features",
            why="videos and features cannot be shipped",
            fix="pass --annotations FOLDER --rgb FOLDER, --flow and --audio where there are any; or --videos FOLDER",
        )
    return BenchmarkFiles(benchmark, annotations, rgb, flow, audio)
