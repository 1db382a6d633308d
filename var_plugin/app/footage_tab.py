"""The tab Footage: add, list and delete videos."""

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

from var_plugin.app import formatting
from var_plugin.app.feedback import evaluation_data
from var_plugin.app.ingest_queue import IngestBatch, IngestJob, delete_upload, is_upload, jobs_from_form
from var_plugin.app.media_registry import Download
from var_plugin.app.state import AppState
from var_plugin.app.timeline import MAX_VIDEOS
from var_plugin.errors import InvalidInputError, UnknownVideoError, VarPluginError
from var_plugin.media.files import VIDEO_SUFFIXES
from var_plugin.retrievers.text import sanitize_name
from var_plugin.tools.base import committed_videos
from var_plugin.types import Video

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class FootageTab:
    """The components that other tabs connect to."""

    progress: gr.HTML
    listing: list[Any]
    list_videos: Callable[[], Any]
    """Returns the updates of `listing`."""
    added: Any
    """The event of adding footage; None on a read-only page."""
    deleted: Any
    """The event of deleting a video."""


def build_footage_tab(state: AppState, tab: gr.Tab, bridge: gr.HTML) -> FootageTab:
    """Create and connect the tab."""
    progress = gr.HTML(elem_id="vp-adding", render=False)
    added = None if state.options.read_only else _build_form(state, progress)
    progress.render()  # type: ignore[no-untyped-call]
    with gr.Row():
        gr.Markdown("### Videos in the index")
        refresh = gr.Button("Refresh", size="sm", scale=0, min_width=110)
    table = gr.HTML(elem_id="vp-videos")
    feedback_link = gr.HTML()

    def list_videos() -> list[str]:
        return [videos_table(state), _evaluation_link(state)]

    def delete(clicked: gr.EventData) -> Any:
        if clicked.action != "delete" or state.options.read_only:
            return gr.skip(), gr.skip()
        try:
            video = state.index.video(str(clicked.id))
            state.index.delete(video.video_id)
            for path in video.paths:
                delete_upload(Path(path))
        except UnknownVideoError:
            pass  # another visitor deleted it first
        except Exception as error:
            logger.exception("a video could not be deleted")
            reason = str(error) if isinstance(error, VarPluginError) else formatting.unexpected_error(error)
            problem = f'<p class="vp-problem" role="alert">Not deleted: {escape(formatting.clean_text(reason))}</p>'
            return problem + videos_table(state), _evaluation_link(state)
        return list_videos()

    private: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    refresh.click(list_videos, None, [table, feedback_link], **private)
    progress.change(list_videos, None, [table, feedback_link], **private)
    tab.select(list_videos, None, [table, feedback_link], **private)
    deleted = bridge.click(delete, None, [table, feedback_link], **private)
    return FootageTab(progress, [table, feedback_link], list_videos, added, deleted)


def _build_form(state: AppState, progress: gr.HTML) -> Any:
    gr.Markdown("### Add footage\nEach video is searchable as soon as it is indexed. The page stays usable meanwhile.")
    with gr.Row():
        uploads = gr.File(
            label="Upload videos",
            file_count="multiple",
            file_types=sorted(VIDEO_SUFFIXES),
            height=150,
            elem_id="vp-upload",
        )
        with gr.Column():
            # Naming a folder reveals its content, so it is allowed on a local page only.
            folder_box = gr.Textbox(
                label="Or a folder on this machine", visible=state.options.is_local, elem_id="vp-folder"
            )
            camera_box = gr.Textbox(
                label="Camera", placeholder="Default: name of the folder or file", elem_id="vp-camera"
            )
            time_box = gr.Textbox(
                label=f"Recorded at ({datetime.now(state.options.zone):%Z})",
                placeholder="2026-11-01 14:00. Default: from the file name or header",
                elem_id="vp-recorded",
            )
            add_button = gr.Button("Add to the index", variant="primary", elem_id="vp-add")

    def start(files: list[str] | None, path: str, camera: str, recorded_at: str) -> Iterator[tuple[Any, Any]]:
        def jobs() -> Iterable[IngestJob]:
            start_time = _parse_date_time(recorded_at, state)
            folder = path.strip() if state.options.is_local else ""
            return jobs_from_form(files or [], folder, camera.strip() or None, start_time)

        # The upload box is cleared, because uploaded files are moved to the upload folder.
        for html in ingest_progress(state, jobs):
            yield html, None

    return add_button.click(
        start,
        [uploads, folder_box, camera_box, time_box],
        [progress, uploads],
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=8,
    )


def ingest_progress(state: AppState, jobs: Callable[[], Iterable[IngestJob]]) -> Iterator[str]:
    """Add footage and yield its progress as HTML until all of it is done."""
    batch = state.queue.start(jobs)
    previous = ""
    while True:
        is_finished = batch.is_finished
        html = progress_list(batch)
        if html != previous:
            previous = html
            yield html
        if is_finished:
            return
        time.sleep(POLL_SECONDS)


def progress_list(batch: IngestBatch) -> str:
    """Return the progress of each video as HTML."""
    if batch.error:
        return f'<p class="vp-problem" role="alert">{escape(formatting.clean_text(batch.error))}</p>'
    if not batch.jobs:
        message = "Nothing to add. Upload videos or enter a folder." if batch.is_finished else "Preparing …"
        return f'<p role="status">{message}</p>'
    rows = "".join(
        f"<tr><td>{escape(sanitize_name(job.path.name))}</td><td>{escape(sanitize_name(job.camera or ''))}</td>"
        f"<td>{_bar(job)}</td><td>{escape(formatting.clean_text(job.message))}</td></tr>"
        for job in batch.jobs
    )
    return (
        '<div class="vp-table-wrap"><table class="vp-table" aria-label="Ingest progress"><thead><tr><th>Video</th>'
        f"<th>Camera</th><th>State</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _bar(job: IngestJob) -> str:
    if job.state != "working":
        return job.state
    fraction = min(1.0, job.processed_seconds / job.duration) if job.duration else 0.0
    return (
        f'<span class="vp-progress" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{fraction:.0%}">'  # noqa: E501
        f'<span style="width:{fraction:.0%}"></span></span> {fraction:.0%}'
    )


def videos_table(state: AppState) -> str:
    """Return a table of the indexed videos, latest first, each with a delete button."""
    videos = committed_videos(state.index)
    if not videos:
        return "<p>There is no footage yet.</p>"
    listed = videos[: -MAX_VIDEOS - 1 : -1]
    rows = "".join(_row(video, state) for video in listed)
    more = f"<p>{len(videos) - MAX_VIDEOS} more are not listed.</p>" if len(videos) > MAX_VIDEOS else ""
    return (
        '<div class="vp-table-wrap"><table class="vp-table" aria-label="Videos in the index"><thead><tr><th>Camera</th>'
        f"<th>Recorded</th><th>Length</th><th>File</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )


def _row(video: Video, state: AppState) -> str:
    recorded = (
        f"{video.recorded_at.astimezone(state.options.zone):%d %b %Y, %H:%M:%S %Z}" if video.recorded_at else "unknown"
    )
    file = escape(sanitize_name(Path(video.uri).name))
    button = (
        ""
        if state.options.read_only
        else f'<button type="button" class="vp-delete" data-vp="delete" data-vp-id="{escape(video.video_id)}" '
        f'data-vp-confirm="{_delete_question(file, video)}" aria-label="Delete {file}">delete</button>'
    )
    return (
        f"<tr><td>{escape(sanitize_name(video.camera))}</td><td>{recorded}</td><td>{formatting.format_position(video.duration)}</td>"
        f"<td>{file}</td><td>{button}</td></tr>"
    )


def _delete_question(file: str, video: Video) -> str:
    """Return the question of the delete dialog. `delete_upload` deletes uploaded files only."""
    is_deleted = any(is_upload(Path(path)) for path in video.paths)
    effect = "The uploaded file is deleted from disk, too." if is_deleted else "The file stays on disk."
    return f"Delete {file} from the index? {effect}"


def _evaluation_link(state: AppState) -> str:
    feedback = state.feedback.all()
    if not feedback:
        return ""
    files = {video.video_id: Path(video.uri) for video in committed_videos(state.index)}
    download = Download("feedback.json", "application/json", evaluation_data(feedback, files))
    right = sum(entry.is_right for entry in feedback)
    return (
        f'<p class="vp-downloads">Feedback: {right} right, {len(feedback) - right} wrong. '
        f'<a href="{state.media.add_download(download)}" download>evaluation data (JSON)</a></p>'
    )


def _parse_date_time(text: str, state: AppState) -> datetime | None:
    if not text.strip():
        return None
    try:
        recorded_at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidInputError(
            f"“{text.strip()}” is not a date and time", fix="write it as 2026-11-01 14:00"
        ) from error
    return recorded_at if recorded_at.tzinfo else recorded_at.replace(tzinfo=state.options.zone)
