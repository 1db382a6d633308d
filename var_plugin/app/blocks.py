"""The page as Gradio blocks."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from var_plugin.app.ask_tab import build_ask_tab, connect
from var_plugin.app.empty_state import build_welcome, offered
from var_plugin.app.footage_tab import build_footage_tab
from var_plugin.app.overview_tab import build_overview_tab
from var_plugin.app.session import Session
from var_plugin.app.state import Desk
from var_plugin.app.theme import BRIDGE

SESSION_SECONDS = 86_400
UPLOAD_CHECK_SECONDS = 3600
UPLOAD_SECONDS = 86_400


def build_page(desk: Desk) -> gr.Blocks:
    """Return the page; nothing listens yet."""
    with gr.Blocks(
        title="var-plugin: find the moment",
        analytics_enabled=False,
        fill_width=True,
        # What people send with a question is kept for a day; footage that is added is moved away before.
        delete_cache=(UPLOAD_CHECK_SECONDS, UPLOAD_SECONDS),
    ) as page:
        session = gr.State(Session(), time_to_live=SESSION_SECONDS)
        gr.HTML('<div class="vp-head"><h1>Find the moment</h1></div>')
        if desk.options.notice:
            gr.HTML(f'<p class="vp-problem" role="alert">{escape(desk.options.notice)}</p>', elem_id="vp-notice")
        bridge = gr.HTML("<span></span>", js_on_load=BRIDGE, elem_classes="vp-hidden")
        with gr.Tabs():
            with gr.Tab("Ask", id="ask"):
                welcome = build_welcome(desk, page)
                tab = build_ask_tab(desk)
            with gr.Tab("Over time", id="time") as over_time:
                build_overview_tab(desk, over_time, session)
            with gr.Tab("Footage", id="footage"):
                footage = build_footage_tab(desk, page, bridge)
        connect(tab, desk, session, bridge, [event for event in (welcome.added, footage.added) if event])
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        welcome.progress.change(footage.list_again, None, footage.listing, **quiet)
        for event in (welcome.progress.change, footage.progress.change, footage.deleted.then):
            event(lambda: offered(desk), None, [welcome.offer], **quiet)
    return page  # type: ignore[no-any-return]
