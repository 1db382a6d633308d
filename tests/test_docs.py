"""The documentation uses existing commands and options and names existing tests."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from var_plugin.app import chat_search, gate, media_registry, timeline, unusual
from var_plugin.app import options as app_options
from var_plugin.cli import app
from var_plugin.encoders import novelty
from var_plugin.index.milvus import lite_server
from var_plugin.ingest import retention
from var_plugin.media import clips, container
from var_plugin.media.limits import DEFAULT_LIMITS
from var_plugin.retrievers import report
from var_plugin.server import inputs, json_body, middleware, schemas
from var_plugin.server.options import ServerOptions
from var_plugin.tools import TOOLS
from var_plugin.types import MAX_QUERY_LENGTH, MIN_EVENT_SCORE
from var_plugin.watch import alerts, delivery, folder, raised_alerts, rtsp, saved_alerts, watcher
from var_plugin.web import same_origin, serving
from var_plugin.web.limits import BodyLimits

SERVER, BODY = ServerOptions(), BodyLimits(1)
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page: Path) -> list[str]:
    """Return the `var-plugin` command lines in the shell blocks of a page, without variables and redirections."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    calls = [re.search(r"(?:^|\s)var-plugin (.*)", line.strip().removeprefix("$ ")) for line in lines]
    return [re.split(r"\s(?:[|&>#]|\d>)", call.group(1))[0] for call in calls if call]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_line_is_valid(page: Path) -> None:
    for command in commands(page):
        # With --help, commands and options are checked but nothing runs.
        result = CliRunner().invoke(app, [*shlex.split(command), "--help"])
        assert result.exit_code == 0, f"var-plugin {command}\n{result.output}"


def test_pages_have_commands() -> None:
    assert sum(len(commands(page)) for page in PAGES) >= 20
    result = CliRunner().invoke(app, ["extract", "videos", "--no-such-option", "--help"])
    assert result.exit_code == 2, "an unknown option is detected"


def test_tests_that_the_documentation_names_exist() -> None:
    """A guarantee with a renamed test would be held by nothing."""
    text = "".join(page.read_text() for page in PAGES)
    files = [ROOT / name for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text)]
    functions = set(re.findall(r"`(test_\w+)`", text))
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 20 and len(functions) > 10
    assert [file for file in files if not file.exists()] == []
    assert functions - set(re.findall(r"def (test_\w+)", sources)) == set()


def numbers(page: str) -> tuple[str, ...]:
    """Return phrases of a page with the numbers of the code."""
    return {
        "media": (
            f"not changed for {folder.SETTLE_SECONDS:g} s",
            f"{folder.RETRY_SECONDS:g}, {2 * folder.RETRY_SECONDS:g}, {4 * folder.RETRY_SECONDS:g} s … "
            f"{folder.MAX_RETRY_SECONDS / 3600:g} h",
            f"sends no video for {rtsp._STALL_SECONDS:g} s",
            f"after 1, 2, 4 … {rtsp._MAX_DELAY:g} s",
            f"{rtsp._MIN_FREE_BYTES >> 20} MiB of the disk are free (less than {100 * rtsp._MIN_FREE_SHARE:g} %",
            f"(default {saved_alerts.DEFAULT_QUERY_THRESHOLD:g})",
            f"(default {saved_alerts.DEFAULT_ANOMALY_THRESHOLD:g})",
            f"among the last {alerts.HISTORY_DAYS} days",
            f"An attempt takes at most {delivery._TIMEOUT_SECONDS:g} s",
            f"takes at most {delivery._BUDGET_SECONDS:g} s per check",
            f"a packet of more than {delivery._MAX_PACKET_BYTES >> 10} KiB",
            f"for {raised_alerts._MAX_AGE_SECONDS / 86_400:g} days",
            f"not changed for {watcher.ALERT_SECONDS:g} s after it was stored",
            f"more than {container.BACKWARD_SLACK_SECONDS:g} s before",
            f"| length | {DEFAULT_LIMITS.duration / 3600:g} h |",
            f"| streams in a file | {DEFAULT_LIMITS.streams} |",
            f"| wall time without a result | {DEFAULT_LIMITS.stall_seconds:g} s |",
            f"| wall time per second of footage, on average | {DEFAULT_LIMITS.realtime_factor:g} s |",
            f"| wall time for a file | {DEFAULT_LIMITS.total_seconds / 3600:g} h |",
            f"| address space of the child | {DEFAULT_LIMITS.memory >> 30} GiB |",
            f"at most {DEFAULT_LIMITS.output >> 30} GiB ({clips.MAX_BROWSER_CLIP_BYTES >> 30} GiB for the page)",
        ),
        "page": (
            f"an anomaly score of at least {unusual.MIN_LISTED_ANOMALY:g}",
            f"the {unusual.MAX_MOMENTS} strongest moments are listed, {unusual.PAGE_SIZE} at a time",
            f"at most about {timeline.MAX_CAMERA_POINTS} points",
            f"A clip is at most {media_registry.MAX_CLIP_SECONDS:g} s long",
            f"at most {app_options.READ_ONLY_FILE_BYTES >> 20} MB on a read-only page",
            f"less than {gate.MIN_FREE_BYTES // 10**9} GB of disk space",
            f"exceed {gate.FILES_IN_QUOTA} files of the maximum size",
            f"the { {6: 'six'}[len(TOOLS)] } [tools](plugs.md)",
            f"a score of {chat_search.MIN_PRESENCE_SCORE:g} or more",
        ),
        "server": (
            f"| {schemas.MAX_INPUTS}, of which {inputs.MAX_MEDIA} media files |",
            f"| {MAX_QUERY_LENGTH:,}; {inputs.MAX_TEXT_LENGTH:,} characters |",
            f"| {SERVER.max_json_bytes >> 20} MiB, {json_body.MAX_VALUES:,} values, {json_body.MAX_DEPTH} levels |",
            f"| {SERVER.max_body_bytes >> 20} MiB | `--max-body` |",
            f"| other bodies | {middleware._SMALL_BODY_BYTES >> 10} KiB |",
            f"| {same_origin.MAX_HEADER_BYTES >> 10} KiB, {same_origin.MAX_HEADERS} lines; "
            f"{same_origin.MAX_TARGET_BYTES >> 10} KiB |",
            f"| {schemas.MAX_NAME_LENGTH} characters; {schemas.MAX_NAMES}; {schemas.MAX_METADATA_KEYS} |",
            f"| {SERVER.limits.duration / 60:g} minutes | `--max-seconds` |",
            f"| {SERVER.memory_bytes >> 30} GiB, half each | `--max-memory` |",
            f"| {SERVER.max_in_progress} | `--max-requests` |",
            f"up to {SERVER.max_batch} items (`--max-batch`)",
            f"| {BODY.grace_seconds:g} s, and 1 s per {BODY.min_rate / 1024:g} KiB received; at most "
            f"{BODY.max_seconds / 60:g} minutes |",
            f"| time for the headers of a request | {serving.HEADER_SECONDS:g} s |",
            f"Requests in progress have {serving.GRACE_SECONDS} seconds to finish",
        ),
        "reliability": (
            f"8 bytes per dimension and {retention._ROW_BYTES} bytes per row",
            f"first waits for {lite_server.TIMEOUT_SECONDS:g} s",
        ),
        "anomalies": (
            f"At most the {report._MAX_MOMENTS:,} strongest moments",
            f"From {MIN_EVENT_SCORE:g} on, an event counts as detected",
            f"up to {novelty.MAX_VECTORS:,} segment vectors per camera",
        ),
    }[page]


@pytest.mark.parametrize("page", ["media", "page", "server", "reliability", "anomalies"])
def test_numbers_in_the_guides_are_those_of_the_code(page: str) -> None:
    text = " ".join((ROOT / f"docs/{page}.md").read_text().split())
    assert [phrase for phrase in numbers(page) if phrase not in text] == []
