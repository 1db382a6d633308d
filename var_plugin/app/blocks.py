"""The page as Gradio blocks."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from var_plugin.app.ask_tab import build_ask_tab, connect
from var_plugin.app.empty_state import build_empty_state, panel_update
from var_plugin.app.footage_tab import build_footage_tab
from var_plugin.app.overview_tab import build_overview_tab
from var_plugin.app.session import Session
from var_plugin.app.state import AppState
from var_plugin.app.theme import BRIDGE
from var_plugin.app.unusual_tab import build_unusual_tab

SESSION_SECONDS = 86_400
UPLOAD_CHECK_SECONDS = 3600
UPLOAD_SECONDS = 86_400


def build_page(state: AppState) -> gr.Blocks:
    """Return the page without serving it."""
    with gr.Blocks(
        title="var-plugin: find the moment",
        analytics_enabled=False,
        fill_width=True,
        # Attachments of messages are deleted after a day. Added footage is moved to another folder at once.
        delete_cache=(UPLOAD_CHECK_SECONDS, UPLOAD_SECONDS),
    ) as page:
        session = gr.State(Session(), time_to_live=SESSION_SECONDS)
        gr.HTML('<div class="vp-head"><h1>Find the moment</h1></div>')
        if state.options.notice:
            gr.HTML(f'<p class="vp-problem" role="alert">{escape(state.options.notice)}</p>', elem_id="vp-notice")
        bridge = gr.HTML("<span></span>", js_on_load=BRIDGE, elem_classes="vp-hidden")
        empty_state = build_empty_state(state, page)
        with gr.Tabs():
            with gr.Tab("Unusual", id="unusual") as unusual_tab:
                unusual = build_unusual_tab(state, page, unusual_tab, bridge)
            with gr.Tab("Ask", id="ask"):
                tab = build_ask_tab(state)
            with gr.Tab("Timeline", id="timeline") as timeline:
                build_overview_tab(state, timeline, session, bridge)
            with gr.Tab("Footage", id="footage") as footage_tab:
                footage = build_footage_tab(state, footage_tab, bridge)
        connect(tab, state, session, bridge, [event for event in (empty_state.added, footage.added) if event])
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        empty_state.progress.change(footage.list_videos, None, footage.listing, **quiet)
        for event in (empty_state.progress.change, footage.progress.change, footage.deleted.then):
            event(lambda: panel_update(state), None, [empty_state.panel], **quiet)
            event(unusual.draw, unusual.inputs, unusual.outputs, **quiet)
    return page  # type: ignore[no-any-return]
