"""Commands that run a program: demo, doctor, mcp, app, serve."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from var_plugin.cli.options import (
    AllowHostOption,
    IndexOption,
    JsonOption,
    SuiteOption,
    app,
    example,
    opened_index,
    parse_path,
    print_json,
    progress_bars,
)
from var_plugin.errors import BrokenInstallationError, InvalidSettingError


@app.command(epilog=example("demo demo-footage/"))
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the footage and its index.", parser=parse_path)] = Path(
        "demo-footage"
    ),
    as_json: JsonOption = False,
) -> None:
    """Create demo footage, index it, list unusual moments, search it."""
    from var_plugin.demo.run import run_demo

    stream = sys.stderr if as_json else sys.stdout
    with progress_bars() as progress:
        report = run_demo(folder, log=lambda line: print(line, file=stream), progress=progress)
    if as_json:
        print_json(report.model_dump(mode="json"))


@app.command(epilog=example("doctor --json", "doctor --suite clip"))
def doctor(suite: SuiteOption = None, as_json: JsonOption = False) -> None:
    """Check the installed packages, or the vectors of a suite.

    Prints the command that fixes a problem. The vectors of a suite are compared with those of float32 on the CPU.
    """
    if suite is not None:
        _check_suite(suite, as_json)
        return
    from dataclasses import asdict

    from var_plugin.doctor import diagnose

    findings = diagnose()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{'broken' if finding.problem else 'ok':6}  {finding.package} {finding.version}")
            if finding.problem:
                print(f"        {finding.problem}\n        to fix it: {finding.fix}")
    broken = [finding.package for finding in findings if finding.problem]
    if broken:
        first = next(finding for finding in findings if finding.problem)
        raise BrokenInstallationError(f"{', '.join(broken)} cannot be used", why=first.problem, fix=first.fix)


def _check_suite(suite: str, as_json: bool) -> None:
    from dataclasses import asdict

    from var_plugin.config import settings
    from var_plugin.encoders.self_check import check_suite

    options = settings()
    results = check_suite(suite, options)
    if as_json:
        print_json([asdict(result) for result in results])
    else:
        for result in results:
            cosine = "" if result.cosine is None else f", cosine similarity to float32 {result.cosine:.5f}"
            print(f"{'wrong' if result.problem else 'ok':6}  {result.space}: {result.modality}{cosine}")
    problem = next((result for result in results if result.problem), None)
    if problem:
        raise InvalidSettingError(
            f"the vectors of suite '{suite}' for {problem.modality} are wrong with {options.dtype}",
            why=problem.problem,
            fix="fetch the model again"
            if options.dtype == "float32"
            else "set VAR_PLUGIN_DTYPE to float32 or bfloat16 and check again",
        )


@app.command(epilog=example("mcp --index footage.db", "mcp --http --port 8765 --index footage.db"))
def mcp(
    location: IndexOption = None,
    suite: SuiteOption = None,
    http: Annotated[bool, typer.Option("--http", help="Serve over HTTP instead of stdin and stdout.")] = False,
    host: Annotated[
        str, typer.Option(help="With --http: address to listen on. Beyond loopback, API keys are required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="With --http: port to listen on.")] = 8765,
    allow_host: AllowHostOption = None,
) -> None:
    """Run an MCP server that gives assistants access to an index. API keys for --http: VAR_PLUGIN_API_KEYS."""
    from var_plugin.config import settings
    from var_plugin.tools.mcp import serve_mcp
    from var_plugin.web.limits import check_listen_address, parse_keys

    keys = parse_keys(settings().api_keys.get_secret_value())
    if http:
        check_listen_address(host, keys)
    with opened_index(location, suite) as index:
        serve_mcp(
            index,
            transport="http" if http else "stdio",
            host=host,
            port=port,
            api_keys=keys,
            allowed_hosts=allow_host or (),
        )


@app.command(name="app", epilog=example("app --index footage.db", "app --read-only --port 7860 --index footage.db"))
def run_page(
    location: IndexOption = None,
    suite: SuiteOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, a login is required.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", show_default="the first free port from 7860")
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Create a public URL through Gradio's servers; a login is required.")
    ] = False,
    open_to_all: Annotated[bool, typer.Option("--open-to-all", help="Do not require a login.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Disable adding and deleting footage on the page.")
    ] = False,
    max_upload: Annotated[str, typer.Option(help="Maximum size of an uploaded file.")] = "2gb",
    allow_host: AllowHostOption = None,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Also run an MCP server for assistants at /gradio_api/mcp.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="PROVIDER:NAME", help="LangChain chat model that interprets the messages."),
    ] = None,
) -> None:
    """Run the web page for searching and chatting. Users for the login: VAR_PLUGIN_APP_USERS, as name:password."""
    import time

    from var_plugin.app.options import PageOptions, parse_users
    from var_plugin.app.serve import check_page, running_page
    from var_plugin.config import settings

    options = PageOptions(
        host=host,
        port=port,
        share=share,
        users=parse_users(settings().app_users.get_secret_value()),
        open_to_all=open_to_all,
        read_only=read_only,
        max_upload=max_upload,
        allowed_hosts=tuple(allow_host or ()),
        mcp=mcp,
        model=model,
    )
    check_page(options)  # before an index is created
    with opened_index(location, suite, create=True) as index, running_page(index, options) as address:
        print(f"The page is at {address}. Press Ctrl-C to stop.", flush=True)
        with suppress(KeyboardInterrupt):
            while True:  # short sleeps, because a signal delivered to another thread does not end a sleep
                time.sleep(1)


@app.command(
    epilog=example(
        "serve --index footage.db",
        "serve --host 0.0.0.0 --allow-host search.example.org --fetch-host media.example.org",
    )
)
def serve(
    location: IndexOption = None,
    suite: SuiteOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond loopback, API keys are required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    allow_host: AllowHostOption = None,
    fetch_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Host that media may be fetched from by URL; may be repeated."),
    ] = None,
    max_requests: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of requests in progress; others get 429.", show_default="128"),
    ] = None,
    max_body: Annotated[
        float | None, typer.Option(min=0.001, metavar="MB", help="Maximum size of an upload.", show_default="64")
    ] = None,
    max_json: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="MB", help="Maximum size of a JSON body; at most --max-body.", show_default="32"
        ),
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="MB", help="Memory for the bodies and decoded media of all requests.", show_default="1024"
        ),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of items per batch; 1 disables batching.", show_default="64"),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Maximum duration of an audio or video input.", show_default="600")
    ] = None,
) -> None:
    """Run the HTTP server for embeddings and search. API keys: VAR_PLUGIN_API_KEYS, separated by commas."""
    from dataclasses import replace

    from var_plugin.config import settings
    from var_plugin.server.options import ServerOptions
    from var_plugin.server.run import serve as run_server
    from var_plugin.web.limits import parse_keys

    defaults = ServerOptions()
    options = ServerOptions(
        api_keys=parse_keys(settings().api_keys.get_secret_value()),
        allowed_hosts=frozenset(allow_host or ()),
        fetch_hosts=frozenset(fetch_host or ()),
        max_body_bytes=defaults.max_body_bytes if max_body is None else round(max_body * 2**20),
        max_json_bytes=defaults.max_json_bytes if max_json is None else round(max_json * 2**20),
        memory_bytes=defaults.memory_bytes if max_memory is None else round(max_memory * 2**20),
        max_in_progress=max_requests or defaults.max_in_progress,
        max_batch=max_batch or defaults.max_batch,
        limits=replace(defaults.limits, duration=max_seconds or defaults.limits.duration),
    )
    run_server(
        host=host,
        port=port,
        suite=suite,
        index=location or settings().index,
        create=location is None,
        options=options,
    )
