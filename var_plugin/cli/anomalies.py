"""The commands anomalies and report: list what was unusual, and mark what is normal or an alarm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from var_plugin.cli.index import build_filter, print_moments
from var_plugin.cli.options import (
    AfterOption,
    BeforeOption,
    IndexOption,
    JsonOption,
    MetadataOption,
    SuiteOption,
    app,
    example,
    local_zone,
    opened_index,
    parse_metadata,
    parse_path,
    parse_time,
    print_json,
    rescore_bar,
    warn_about_unknown_times,
)
from var_plugin.errors import InvalidInputError
from var_plugin.escaping import printable

if TYPE_CHECKING:
    from var_plugin.api import Index
    from var_plugin.index.examples import OwnerExample

anomalies_app = typer.Typer(
    no_args_is_help=False,
    help="List what was unusual. No query is needed: the moments with the highest anomaly scores, and their kinds.",
)
app.add_typer(
    anomalies_app,
    name="anomalies",
    epilog=example(
        "anomalies --index footage.db",
        "anomalies --kind fire --after yesterday --json",
        "anomalies --camera north --order time -k 50",
    ),
)


@anomalies_app.callback(invoke_without_command=True)
def list_anomalies(
    context: typer.Context,
    k: Annotated[int, typer.Option("-k", help="Number of moments to return.")] = 20,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only moments with this kind of event, such as fire; may be repeated.")
    ] = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    min_anomaly: Annotated[float, typer.Option(help="Minimum anomaly score, 0 to 1.", min=0, max=1)] = 0.3,
    order: Annotated[
        Literal["score", "time"], typer.Option(help="Strongest first, or the same moments with the newest first.")
    ] = "score",
    group_by: Annotated[
        Literal["moment", "video"], typer.Option(help="All moments, or only the strongest one of each video.")
    ] = "moment",
    meta: MetadataOption = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was unusual. No query is needed: the moments with the highest anomaly scores, and their kinds."""
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    conditions = build_filter(
        cameras=camera or None, after=parse_time(after), before=parse_time(before), metadata=parse_metadata(meta)
    )
    with opened_index(location, suite) as index:
        moments = index.anomalies(
            k,
            filter=conditions,
            kinds=kind or None,
            min_score=min_anomaly,
            group_by=group_by,
            order=order,
            thumbnails=True,
        )
        if as_json:
            print_json([moment.model_dump(mode="json") for moment in moments])
        elif moments:
            print_moments(index, moments)
            for name in sorted({moment.camera for moment in moments}):
                print(printable(f"camera {name}: {index.learning(name)}"))
        else:
            print(f"no moments: none has an anomaly score of at least {min_anomaly:g} and matches the filter")
        if not moments:
            warn_about_unknown_times(index, conditions)


def _refuse_options(context: typer.Context) -> None:
    """Raise `InvalidInputError` for options in front of a subcommand, which would have no effect."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise InvalidInputError(
                f"{parameter.opts[0]} in front of '{context.invoked_subcommand}' has no effect",
                fix=f"write it after: var-plugin anomalies {context.invoked_subcommand} … {parameter.opts[0]}",
            )


CameraOption = Annotated[str | None, typer.Option(help="The camera to which it applies. Default: all cameras.")]
MomentOption = Annotated[
    str | None, typer.Option(help="Id of a moment that shows it, instead of a sentence. It applies to its camera.")
]
SentenceArgument = Annotated[str | None, typer.Argument(help="A sentence that describes it.")]


@anomalies_app.command(
    "normal", epilog=example('anomalies normal "people queueing at the till" --camera till --index footage.db')
)
def mark_normal(
    sentence: SentenceArgument = None,
    camera: CameraOption = None,
    moment: MomentOption = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark what is normal. Footage like it gets a lower anomaly score, also footage that is already in the index."""
    with opened_index(location, suite) as index:
        _rescore(index, index.add_example("normal", sentence, camera=camera, moment=moment, rescore=False), as_json)


@anomalies_app.command("alarm", epilog=example('anomalies alarm "a ladder at the fence" --index footage.db'))
def mark_alarm(
    sentence: SentenceArgument = None,
    camera: CameraOption = None,
    moment: MomentOption = None,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark what is an alarm. Footage like it gets the kind `alarm`, also footage that is already in the index."""
    with opened_index(location, suite) as index:
        _rescore(index, index.add_example("alarm", sentence, camera=camera, moment=moment, rescore=False), as_json)


@anomalies_app.command("list", epilog=example("anomalies list --index footage.db"))
def list_examples(location: IndexOption = None, suite: SuiteOption = None, as_json: JsonOption = False) -> None:
    """List what was marked as normal or as an alarm. Moments that were marked with another suite have no effect."""
    from var_plugin.ingest.scoring import is_of_suite

    with opened_index(location, suite) as index:
        examples = [(marked, is_of_suite(marked, index.suite)) for marked in index.examples()]
    if as_json:
        print_json([{**_public(marked), "has_effect": has_effect} for marked, has_effect in examples])
        return
    for marked, has_effect in examples:
        note = "" if has_effect else "  (no effect: marked with another suite; mark it again)"
        print(printable(f"{marked.id}  {marked.kind:6}  {marked.camera or 'all cameras'}  {marked.text}{note}"))


@anomalies_app.command("remove", epilog=example("anomalies remove EXAMPLE_ID --index footage.db"))
def remove_example(
    example_id: Annotated[str, typer.Argument(help="Id, from `anomalies list`.")],
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what was marked as normal or as an alarm."""
    with opened_index(location, suite) as index:
        _rescore(index, index.remove_example(example_id, rescore=False), as_json)


def _rescore(index: Index, marked: OwnerExample, as_json: bool) -> None:
    """Score the index again and print the outcome. If this is interrupted, the next change continues it."""
    with rescore_bar() as progress:
        rescored = index.rescore(progress)
    if as_json:
        print_json({**_public(marked), "rescored_videos": rescored.videos, "changed_rows": rescored.rows})
        return
    print(printable(f"{marked.id}  {marked.kind}  {marked.camera or 'all cameras'}  {marked.text}"))
    print(f"{rescored.videos} videos scored again, {rescored.rows} rows changed")


def _public(marked: OwnerExample) -> dict[str, Any]:
    return marked.model_dump(mode="json", include={"id", "kind", "text", "camera", "moment"})


@app.command("report", epilog=example("report week.html --after '7 days ago' --index footage.db"))
def write_report(
    out: Annotated[Path, typer.Argument(help="HTML file to write. It is replaced if it exists.", parser=parse_path)],
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only moments with this kind of event, such as fire; may be repeated.")
    ] = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    min_anomaly: Annotated[float, typer.Option(help="Minimum anomaly score, 0 to 1.", min=0, max=1)] = 0.3,
    per_day: Annotated[int, typer.Option(help="Maximum number of moments per day and camera.", min=1, max=100)] = 5,
    location: IndexOption = None,
    suite: SuiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an HTML report on what was unusual. It shows the strongest moments of each day and camera."""
    conditions = build_filter(cameras=camera or None, after=parse_time(after), before=parse_time(before))
    with opened_index(location, suite) as index:
        report = index.report(
            out, filter=conditions, kinds=kind or None, min_score=min_anomaly, per_day=per_day, zone=local_zone()
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    print(printable(f"{report.path}: {report.moments} moments; cameras: {report.cameras}, days: {report.days}"))
    if report.without_thumbnail:
        print(f"{report.without_thumbnail} have no thumbnail: their footage cannot be read", file=sys.stderr)
