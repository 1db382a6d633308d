"""Commands that train and evaluate: the ALAN model of the paper on features, and any suite on videos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from var_plugin.cli.options import JsonOption, SuiteOption, app, example, parse_path, print_json
from var_plugin.errors import InvalidInputError
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.evaluation.benchmarks.load import BenchmarkFiles
    from var_plugin.evaluation.captions import CaptionedVideo, CollectionName
    from var_plugin.evaluation.evaluate_suite import SuiteResult
    from var_plugin.evaluation.paper_results import BenchmarkName
    from var_plugin.evaluation.report import Row

Collection = Literal["own", "ucfcrime-ar", "xdviolence-ar", "uca"]

Evaluated = Literal["own", "ucfcrime-ar", "xdviolence-ar", "uca", "anomalies"]

CollectionArgument = Annotated[Collection, typer.Argument(help="Your own captioned videos, or a public benchmark.")]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option(
        help="For own: a CSV file with columns video and caption. For a benchmark: its annotation folder.",
        metavar="PATH",
        parser=parse_path,
    ),
]
VideosOption = Annotated[
    Path | None, typer.Option(help="Folder with videos, encoded by --suite.", metavar="PATH", parser=parse_path)
]
RgbOption = Annotated[
    Path | None,
    typer.Option(help="Folder with I3D-RGB features, instead of --videos.", metavar="PATH", parser=parse_path),
]
FlowOption = Annotated[
    Path | None,
    typer.Option(help="Folder with I3D-Flow features. Default: I3D-RGB only.", metavar="PATH", parser=parse_path),
]
AudioOption = Annotated[
    Path | None, typer.Option(help="Folder with VGGish features, for xdviolence-ar.", metavar="PATH", parser=parse_path)
]
SeedOption = Annotated[int, typer.Option(help="Random seed of weights, order and sampling.")]
_PAPER_EPOCHS, _OWN_EPOCHS = 60, 40


@app.command(
    epilog=example(
        "train own --videos cams/ --annotations captions.csv --out my-suite/",
        "train ucfcrime-ar --annotations annotations/ --rgb i3d-rgb/ --out model/",
    )
)
def train(
    collection: CollectionArgument,
    out: Annotated[
        Path, typer.Option(help="Folder for the trained model or suite.", metavar="PATH", parser=parse_path)
    ],
    annotations: AnnotationsOption = None,
    videos: VideosOption = None,
    suite: SuiteOption = None,
    rgb: RgbOption = None,
    flow: FlowOption = None,
    audio: AudioOption = None,
    text_backbone: Annotated[
        str, typer.Option(help="With features: BERT model on the Hugging Face Hub, or a folder.")
    ] = "google-bert/bert-base-cased@cd5ef92a9fb2f889e972770a36d4ed042daf221e",
    epochs: Annotated[int | None, typer.Option(help="Training epochs. Default: 60 on features, 40 on videos.")] = None,
    batch_size: Annotated[int, typer.Option(help="Batch size per device.")] = 64,
    accumulation: Annotated[int, typer.Option(help="With features: gradient accumulation steps.")] = 1,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], typer.Option(help="With features: fp32 or mixed precision.")
    ] = "fp32",
    seed: SeedOption = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="With features: write TensorBoard events.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train ALAN on captioned videos or on features.

    With --videos, ALAN's towers are trained on top of a suite. The result is a folder for --suite. With --rgb, the
    model of the paper is trained on I3D features of a benchmark. An interrupted training continues if the same command
    runs again.
    """
    if videos is not None:
        examples = _examples(collection, videos, annotations, "train")
        _train_towers(suite, examples, out, epochs or _OWN_EPOCHS, batch_size, seed, as_json)
        return
    from var_plugin.config import require, settings

    require("train", "accelerate", "sklearn")  # before PyTorch is imported
    from var_plugin.training.config import TrainingSettings
    from var_plugin.training.train import train_benchmark

    training = TrainingSettings(
        epochs=epochs or _PAPER_EPOCHS,
        batch_size=batch_size,
        accumulation=accumulation,
        precision=precision,
        seed=seed,
        tensorboard=tensorboard,
    )
    files = _files(collection, annotations, rgb, flow, audio)
    result = train_benchmark(files, out, options=settings(), settings=training, text_backbone=text_backbone)
    if as_json:
        print_json({"folder": str(result.folder), "epoch": result.best_epoch, "sum_r": result.validation_recall_sum})
    else:
        print(
            f"{result.folder}: best epoch {result.best_epoch:.0f}, validation SumR {result.validation_recall_sum:.1f}"
        )


def _train_towers(
    suite: str | None, examples: list[CaptionedVideo], out: Path, epochs: int, batch_size: int, seed: int, as_json: bool
) -> None:
    from var_plugin.config import settings
    from var_plugin.training.finetune import FinetuneSettings
    from var_plugin.training.finetune_run import result_values, train_suite

    result = train_suite(
        suite or settings().suite,
        examples,
        out,
        options=settings(),
        settings=FinetuneSettings(epochs=epochs, batch_size=batch_size, seed=seed),
        on_progress=lambda message: print(message, file=sys.stderr),
    )
    if as_json:
        print_json({"folder": str(out), **result_values(result)})
        return
    outcome = f"epoch {result.best_epoch} is best" if result.is_accepted else "no improvement, the suite is unchanged"
    print(
        f"{out}: {outcome}; {result.validation_queries} validation queries, "
        f"SumR {result.baseline_sum_r:.1f} → {result.best_sum_r:.1f}"
    )


@app.command(
    epilog=example(
        "evaluate own --videos cams/ --annotations captions.csv --suite lite",
        "evaluate ucfcrime-ar --model model/ --annotations annotations/ --rgb i3d-rgb/",
        "evaluate anomalies --videos cams/ --annotations events.csv --per-video results.csv",
    )
)
def evaluate(
    collection: Annotated[
        Evaluated,
        typer.Argument(
            help="Your own captioned videos, a public benchmark, or anomalies: videos with labelled events."
        ),
    ],
    model: Annotated[
        Path | None, typer.Option(help="Folder of a model trained on features.", metavar="PATH", parser=parse_path)
    ] = None,
    annotations: AnnotationsOption = None,
    videos: VideosOption = None,
    suite: SuiteOption = None,
    frames: Annotated[
        int | None, typer.Option(help="Number of frames averaged per video, such as 12. Default: all.", min=1)
    ] = None,
    rgb: RgbOption = None,
    flow: FlowOption = None,
    audio: AudioOption = None,
    merge_equal: Annotated[
        bool, typer.Option("--merge-equal", help="With --model: count equal captions as one query.")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option(
            help="For anomalies: JSON file with the scores of another method, instead of --suite.",
            metavar="PATH",
            parser=parse_path,
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(help="For anomalies: minimum score of an alarm.")] = 0.5,
    per_video: Annotated[
        Path | None,
        typer.Option(
            help="For anomalies: write the results per video to this CSV file.", metavar="PATH", parser=parse_path
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="For anomalies: random seed of the bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure a suite or a model on labelled videos. The table has published results, chance, and 95 % intervals.

    --videos evaluates a suite, zero-shot and, if it was trained, with its trained towers. --model evaluates a model on
    features. Confidence intervals need at least two queries and two videos.

    anomalies compares anomaly scores with labelled events: a CSV file with columns video, start, end and kind, or the
    annotation file of UCF-Crime or XD-Violence. The exit code is 1 if a labelled video is missing or has no scores.
    """
    if collection == "anomalies":
        _evaluate_anomalies(annotations, videos, suite, scores, threshold, per_video, seed, as_json)
        return
    from var_plugin.evaluation.anomalies import metrics_markdown
    from var_plugin.evaluation.moments_report import anomaly_rows, moments_markdown, suite_as_json, video_rows
    from var_plugin.evaluation.report import as_json as rows_as_json
    from var_plugin.evaluation.report import markdown

    results: list[SuiteResult] = []
    if videos is None:
        rows = _model_rows(collection, model, annotations, rgb, flow, audio, merge_equal)
        documents = rows_as_json(rows)
    else:
        from var_plugin.config import settings
        from var_plugin.encoders.registry import load_suite
        from var_plugin.evaluation.clip_cache import clip_cache
        from var_plugin.evaluation.evaluate_suite import evaluate_suite

        loaded_suite = load_suite(suite or settings().suite)
        examples = _examples(collection, videos, annotations, "test")
        results = evaluate_suite(
            loaded_suite,
            examples,
            lambda encoder: clip_cache(encoder, settings().cache / "clips").read(
                (example.video for example in examples),
                lambda video: print(printable(f"{video}: encoded"), file=sys.stderr),
            ),
            frames=frames,
            segment_seconds=settings().segment_seconds,
        )
        rows, documents = video_rows(collection, results), suite_as_json(collection, results)
    if as_json:
        print_json(documents)
        return
    if rows:
        print(markdown(rows, query="A" if collection == "xdviolence-ar" else "T"))
    if any(result.moments for result in results):
        print(moments_markdown(results))
    if anomalies := anomaly_rows(results):
        print(metrics_markdown(anomalies))


def _evaluate_anomalies(
    annotations: Path | None,
    videos: Path | None,
    suite: str | None,
    scores: Path | None,
    threshold: float,
    per_video: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    from tqdm import tqdm

    from var_plugin.config import settings
    from var_plugin.encoders.registry import load_suite
    from var_plugin.evaluation import anomalies
    from var_plugin.evaluation.anomaly_labels import VideoNames, load_labels

    if videos is None and scores is None:
        raise InvalidInputError(
            "anomalies needs videos or scores", fix="pass --videos FOLDER, or --scores FILE with scores of the videos"
        )
    clips = anomalies.read_scores(scores) if scores else None
    names, files = VideoNames.in_folder(videos) if videos else (VideoNames(list(clips or ())), {})
    labels = load_labels(annotations, names)
    with tqdm(total=len(labels.videos), unit="video", disable=not sys.stderr.isatty()) as bar:
        footage = anomalies.score_footage(
            load_suite(suite or settings().suite) if clips is None else anomalies.match_scores(clips, names),
            {name: files[name] for name in labels.videos if name in files},
            settings(),
            segment_seconds=settings().segment_seconds,
            report=lambda name: bar.update(),
        )
    report = anomalies.evaluate_anomalies(labels, footage, threshold=threshold, seed=seed)
    if per_video:
        anomalies.write_videos(report, per_video)
    if as_json:
        print_json(anomalies.as_json(report))
    else:
        print(anomalies.markdown(report))
    raise typer.Exit(0 if report.is_complete else 1)


def _model_rows(
    collection: Collection,
    model: Path | None,
    annotations: Path | None,
    rgb: Path | None,
    flow: Path | None,
    audio: Path | None,
    merge_equal: bool,
) -> list[Row]:
    from var_plugin.config import settings
    from var_plugin.evaluation.evaluate import benchmark_rows, evaluate_model

    benchmark = _benchmark(collection)
    measured = None
    if model is not None:
        files = _files(collection, annotations, rgb, flow, audio)
        measured = evaluate_model(model, files, options=settings(), merge_equal=merge_equal)
    return benchmark_rows(benchmark, measured, note=str(model or ""))


def _examples(
    collection: CollectionName, videos: Path, annotations: Path | None, split: Literal["train", "test"]
) -> list[CaptionedVideo]:
    from var_plugin.evaluation.captions import load_captions

    if annotations is None:
        raise InvalidInputError(
            f"{collection} needs annotations",
            why="they hold the query of each video",
            fix="pass --annotations: a CSV with the columns video and caption, or the folder of the benchmark",
        )
    return load_captions(collection, videos, annotations, split)


def _benchmark(collection: Collection) -> BenchmarkName:
    """Return the name of a benchmark that has I3D features.

    Raises:
        InvalidInputError: the collection can only be used with videos.
    """
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
            why="they are not part of this package",
            fix="pass --annotations FOLDER --rgb FOLDER, optionally --flow and --audio; or pass --videos FOLDER",
        )
    return BenchmarkFiles(benchmark, annotations, rgb, flow, audio)
