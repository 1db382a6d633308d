"""The tab that shows all cameras over time."""

from __future__ import annotations

from typing import Any

import gradio as gr

from var_plugin.app.session import Session
from var_plugin.app.state import Desk
from var_plugin.app.timeline import overview


def build_overview_tab(desk: Desk, tab: gr.Tab, session: gr.State) -> None:
    """Lay the tab out; it is drawn when it is opened, with the moments of the last answer on it."""
    plot = gr.Plot(show_label=False, elem_classes="vp-plot", elem_id="vp-overview")
    gr.HTML(
        '<p class="vp-downloads">The redder a bar, the higher the highest anomaly score in it. '
        f"The score is {desk.index.suite.anomaly_scope}. A click plays in the tab Ask.</p>"
    )
    left_out = gr.Markdown()

    def draw(now: Session) -> tuple[Any, str]:
        return overview(desk.index, now.shown, desk.options.zone)

    tab.select(draw, [session], [plot, left_out], show_progress="hidden", api_visibility="private")
