"""The tab for footage: add it, see how far it is, list it, delete it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from var_plugin.app import formatting as words
from var_plugin.app.feedback import evaluation_data
from var_plugin.app.ingest_queue import Batch, Job, from_form, remove_upload
from var_plugin.app.media_registry import Download
from var_plugin.app.state import Desk
from var_plugin.app.timeline import MOST_VIDEOS
from var_plugin.errors import InvalidInputError, UnknownVideoError, VarPluginError
from var_plugin.media.files import VIDEO_SUFFIXES
from var_plugin.retrievers.text import sanitize_name
from var_plugin.tools.base import committed_videos
from var_plugin.types import Video

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class FootageTab:
    """The parts of the tab that others connect to."""

    progress: gr.HTML
    listing: list[Any]
    list_again: Callable[[], Any]
    added: Any
    """The event of adding footage; None on a read-only page."""
    deleted: Any
    """The event of deleting a video."""


def build_footage_tab(desk: Desk, page: gr.Blocks, bridge: gr.HTML) -> FootageTab:
    """Lay the tab out and connect it."""
    progress = gr.HTML(elem_id="vp-adding", render=False)
    added = None if desk.options.read_only else _build_form(desk, progress)
    progress.render()  # type: ignore[no-untyped-call]
    with gr.Row():
        gr.Markdown("### Videos in the index")
        again = gr.Button("Refresh", size="sm", scale=0, min_width=110)
    table = gr.HTML(elem_id="vp-videos")
    marks = gr.HTML()

    def listed() -> list[str]:
        return [videos_table(desk), _marks_link(desk)]

    def delete(clicked: gr.EventData) -> Any:
        if clicked.action != "delete" or desk.options.read_only:
            return gr.skip(), gr.skip()
        try:
            entry = desk.index.entries([str(clicked.id)]).get(str(clicked.id))
            desk.index.delete(str(clicked.id))
            for seen in entry.sightings if entry else ():
                remove_upload(Path(seen.path))
        except UnknownVideoError:
            pass  # somebody else was faster
        except Exception as error:
            logger.exception("a video could not be deleted")
            reason = str(error) if isinstance(error, VarPluginError) else words.unexpected(error)
            problem = f'<p class="vp-problem" role="alert">Not deleted: {escape(words.valid(reason))}</p>'
            return problem + videos_table(desk), _marks_link(desk)
        return listed()

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    again.click(listed, None, [table, marks], **private)
    progress.change(listed, None, [table, marks], **private)
    page.load(listed, None, [table, marks], **private)
    deleted = bridge.click(delete, None, [table, marks], **private)
    return FootageTab(progress, [table, marks], listed, added, deleted)


def _build_form(desk: Desk, progress: gr.HTML) -> Any:
    gr.Markdown("### Add footage\nVideos are searchable one by one, as soon as each is done; the page goes on working.")
    with gr.Row():
        uploads = gr.File(
            label="Upload videos",
            file_count="multiple",
            file_types=sorted(VIDEO_SUFFIXES),
            height=150,
            elem_id="vp-upload",
        )
        with gr.Column():
            # Whoever may name a folder sees what lies in it: only on the machine itself.
            folder = gr.Textbox(label="… or a folder on this machine", visible=desk.options.local, elem_id="vp-folder")
            camera = gr.Textbox(label="Camera", placeholder="else the name of folder or file", elem_id="vp-camera")
            recorded = gr.Textbox(
                label=f"Recorded at ({datetime.now(desk.options.zone):%Z})",
                placeholder="2026-11-01 14:00; else from the file's name or header",
                elem_id="vp-recorded",
            )
            add = gr.Button("Add to the index", variant="primary", elem_id="vp-add")

    def start(files: list[str] | None, where: str, name: str, at: str) -> Iterator[tuple[Any, Any]]:
        def jobs() -> Iterable[Job]:
            clock = _clock_time(at, desk)
            folder = where.strip() if desk.options.local else ""
            return from_form(files or [], folder, name.strip() or None, clock)

        # The uploads are taken over: they are moved to where they are kept.
        for html in watched(desk, jobs):
            yield html, None

    return add.click(
        start,
        [uploads, folder, camera, recorded],
        [progress, uploads],
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=8,
    )


def watched(desk: Desk, jobs: Callable[[], Iterable[Job]]) -> Iterator[str]:
    """Add footage, and yield how far it is until all of it is done."""
    batch = desk.adder.start(jobs)
    shown = ""
    while True:
        finished = batch.finished
        html = progress_list(batch)
        if html != shown:
            shown = html
            yield html
        if finished:
            return
        time.sleep(POLL_SECONDS)


def progress_list(batch: Batch) -> str:
    """Return how far each video is."""
    if batch.problem:
        return f'<p class="vp-problem" role="alert">{escape(words.valid(batch.problem))}</p>'
    if not batch.jobs:
        told = "Nothing to add: upload videos, or name a folder." if batch.finished else "Preparing …"
        return f'<p role="status">{told}</p>'
    rows = "".join(
        f"<tr><td>{escape(sanitize_name(job.path.name))}</td><td>{escape(sanitize_name(job.camera or ''))}</td>"
        f"<td>{_bar(job)}</td><td>{escape(words.valid(job.told))}</td></tr>"
        for job in batch.jobs
    )
    return (
        '<div class="vp-table-wrap"><table class="vp-table" aria-label="Footage being added"><thead><tr><th>Video</th>'
        f"<th>Camera</th><th>State</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _bar(job: Job) -> str:
    if job.state != "working":
        return job.state
    share = min(1.0, job.reached / job.duration) if job.duration else 0.0
    return (
        f'<span class="vp-progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{share:.0%}">'  # noqa: E501
        f'<span style="width:{share:.0%}"></span></span> {share:.0%}'
    )


def videos_table(desk: Desk) -> str:
    """Return the videos of the index, the latest added first, each with a button that deletes it."""
    videos = committed_videos(desk.index)
    if not videos:
        return "<p>There is no footage yet.</p>"
    rows = "".join(_row(video, desk) for video in videos[: -MOST_VIDEOS - 1 : -1])
    more = f"<p>{len(videos) - MOST_VIDEOS} more are not listed.</p>" if len(videos) > MOST_VIDEOS else ""
    return (
        '<div class="vp-table-wrap"><table class="vp-table" aria-label="Videos in the index"><thead><tr><th>Camera</th>'
        f"<th>Recorded</th><th>Length</th><th>File</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )


def _row(video: Video, desk: Desk) -> str:
    recorded = (
        f"{video.recorded_at.astimezone(desk.options.zone):%d %b %Y, %H:%M:%S %Z}" if video.recorded_at else "unknown"
    )
    file = escape(sanitize_name(Path(video.uri).name))
    button = (
        ""
        if desk.options.read_only
        else f'<button type="button" class="vp-delete" data-vp="delete" data-vp-id="{escape(video.video_id)}" '
        f'data-vp-confirm="Delete {file} from the index?" aria-label="Delete {file}">delete</button>'
    )
    return (
        f"<tr><td>{escape(sanitize_name(video.camera))}</td><td>{recorded}</td><td>{words.minutes(video.duration)}</td>"
        f"<td>{file}</td><td>{button}</td></tr>"
    )


def _marks_link(desk: Desk) -> str:
    marks = desk.marks.all()
    if not marks:
        return ""
    files = {video.video_id: Path(video.uri) for video in committed_videos(desk.index)}
    made = Download("marks.json", "application/json", evaluation_data(marks, files))
    right = sum(mark.right for mark in marks)
    return (
        f'<p class="vp-downloads">{right} moments are marked right, {len(marks) - right} wrong: '
        f'<a href="{desk.shelf.offer(made)}" download>evaluation data (JSON)</a></p>'
    )


def _clock_time(text: str, desk: Desk) -> datetime | None:
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInputError(f"“{text.strip()}” is not a clock time", fix="write it as 2026-11-01 14:00") from error
    return at if at.tzinfo else at.replace(tzinfo=desk.options.zone)
