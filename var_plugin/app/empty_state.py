"""The panel that offers demo footage while the index is empty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from var_plugin.app.footage_tab import ingest_progress
from var_plugin.app.ingest_queue import jobs_from_demo
from var_plugin.app.state import AppState
from var_plugin.tools.base import committed_videos


@dataclass(frozen=True)
class EmptyState:
    """The components of the panel."""

    panel: gr.Column
    progress: gr.HTML
    added: Any
    """The event of adding the demo footage; None on a read-only page."""


def build_empty_state(state: AppState, page: gr.Blocks) -> EmptyState:
    """Create the panel."""
    with gr.Column(visible=False, elem_id="vp-welcome") as panel:
        if state.options.read_only:
            gr.Markdown("### There is no footage yet\nThis page is read-only. Its operator can add footage.")
        else:
            gr.Markdown(
                "### There is no footage yet\nAdd your own in the tab **Footage**, or try the demo: four short videos, "
                "generated here in a minute or two."
            )
            button = gr.Button("Try it with the demo footage", variant="primary", elem_id="vp-demo")
        progress = gr.HTML(elem_id="vp-demo-progress")

    def start() -> Iterator[str]:
        yield from ingest_progress(state, jobs_from_demo)

    added = None
    if not state.options.read_only:
        added = button.click(start, None, [progress], show_progress="hidden", api_visibility="private")
    page.load(lambda: panel_update(state), None, [panel], show_progress="hidden", api_visibility="private")
    return EmptyState(panel, progress, added)


def panel_update(state: AppState) -> Any:
    """Return the update that shows the panel while the index is empty and hides it otherwise."""
    return gr.Column(visible=not committed_videos(state.index))
