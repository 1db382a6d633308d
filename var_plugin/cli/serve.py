"""Commands that are programs of their own: the demo, the doctor."""

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
    opened,
    print_json,
    progress_bars,
)
from var_plugin.errors import BrokenInstallationError


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the footage and its index go.")] = Path("demo-footage"),
    as_json: JsonOption = False,
) -> None:
    """Compose demo footage, index it, ask ten questions and show what is found."""
    from var_plugin.demo.run import run_demo

    stream = sys.stderr if as_json else sys.stdout
    with progress_bars() as progress:
        report = run_demo(folder, log=lambda line: print(line, file=stream), progress=progress)
    if as_json:
        print_json(report.model_dump(mode="json"))


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check that the installed packages work together; print the command that mends what does not."""
    from dataclasses import asdict

    from var_plugin.doctor import diagnose

    findings = diagnose()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{'broken' if finding.problem else 'ok':6}  {finding.package} {finding.version}")
            if finding.problem:
                print(f"        {finding.problem}\n        mend it with: {finding.fix}")
    broken = [finding.package for finding in findings if finding.problem]
    if broken:
        first = next(finding for finding in findings if finding.problem)
        raise BrokenInstallationError(f"{', '.join(broken)} cannot be used", why=first.problem, fix=first.fix)


@app.command()
def mcp(
    index: IndexOption = None,
    suite: SuiteOption = None,
    http: Annotated[bool, typer.Option("--http", help="Serve over HTTP instead of stdin and stdout.")] = False,
    host: Annotated[
        str, typer.Option(help="Address to serve on with --http; other than loopback needs API keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on with --http.")] = 8765,
    allow_host: AllowHostOption = None,
) -> None:
    """Serve the index to assistants as an MCP server; API keys for --http come from VAR_PLUGIN_API_KEYS."""
    from var_plugin.config import settings
    from var_plugin.tools.mcp import serve_mcp
    from var_plugin.web.limits import check_listen_address, parse_keys

    keys = parse_keys(settings().api_keys.get_secret_value())
    if http:
        check_listen_address(host, keys)
    with opened(index, suite) as library:
        serve_mcp(
            library,
            transport="http" if http else "stdio",
            host=host,
            port=port,
            api_keys=keys,
            allowed_hosts=allow_host or (),
        )


@app.command(name="app")
def page(
    index: IndexOption = None,
    suite: SuiteOption = None,
    host: Annotated[str, typer.Option(help="Address to serve on; beyond loopback it takes a login.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to serve on.", show_default="the first free one from 7860")
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Get a public address from Gradio's servers; takes a login.")
    ] = False,
    open_to_all: Annotated[bool, typer.Option("--open-to-all", help="Let others in without a login.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Let nobody add or delete footage on the page.")
    ] = False,
    max_upload: Annotated[str, typer.Option(help="Largest file that can be uploaded.")] = "2gb",
    allow_host: AllowHostOption = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Offer the tools to assistants at /gradio_api/mcp.")] = False,
    model: Annotated[
        str | None, typer.Option(metavar="PROVIDER:NAME", help="A chat model of LangChain that reads the messages.")
    ] = None,
) -> None:
    """Open the page: chat with the cameras. Users come from VAR_PLUGIN_APP_USERS, as name:password."""
    import time

    from var_plugin.app.options import PageOptions, parse_users
    from var_plugin.app.serve import running_page
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
    with opened(index, suite, new=True) as library, running_page(library, options) as address:
        print(f"The page is at {address}; Ctrl-C ends it.", flush=True)
        with suppress(KeyboardInterrupt):
            while True:  # a wait without an end misses a signal that the kernel gives to another thread
                time.sleep(1)


@app.command()
def serve(
    index: IndexOption = None,
    suite: SuiteOption = None,
    host: Annotated[str, typer.Option(help="Address to serve on; beyond loopback it takes API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on.")] = 8000,
    allow_host: AllowHostOption = None,
    fetch_host: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="A host that media may be fetched from; may be repeated."),
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="Requests in progress at once; more get 429.", show_default="128")
    ] = None,
    max_body: Annotated[
        float | None, typer.Option(min=0.001, metavar="MB", help="Size of an upload.", show_default="64")
    ] = None,
    max_json: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="MB", help="Size of a JSON request; never more than --max-body.", show_default="32"
        ),
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="MB", help="Memory for bodies and decoded media of all requests.", show_default="1024"
        ),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option(min=1, help="Items encoded together; 1 turns batching off.", show_default="64")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Length of an audio file or a video.", show_default="600")
    ] = None,
) -> None:
    """Serve embeddings, search and videos over HTTP; API keys come from VAR_PLUGIN_API_KEYS, separated by commas."""
    from dataclasses import replace

    from var_plugin.config import settings
    from var_plugin.server.options import ServerOptions
    from var_plugin.server.run import serve as run_server
    from var_plugin.web.limits import parse_keys

    usual = ServerOptions()
    options = ServerOptions(
        api_keys=parse_keys(settings().api_keys.get_secret_value()),
        allowed_hosts=frozenset(allow_host or ()),
        fetch_hosts=frozenset(fetch_host or ()),
        max_body_bytes=usual.max_body_bytes if max_body is None else round(max_body * 2**20),
        max_json_bytes=usual.max_json_bytes if max_json is None else round(max_json * 2**20),
        memory_bytes=usual.memory_bytes if max_memory is None else round(max_memory * 2**20),
        max_in_progress=max_requests or usual.max_in_progress,
        max_batch=max_batch or usual.max_batch,
        limits=replace(usual.limits, duration=max_seconds or usual.limits.duration),
    )
    run_server(host=host, port=port, suite=suite, index=index or settings().index, options=options)
