"""The tab Timeline: all cameras on one time axis."""

from __future__ import annotations

from typing import Any

import gradio as gr

from var_plugin.app.session import Session
from var_plugin.app.state import AppState
from var_plugin.app.timeline import overview


def build_overview_tab(state: AppState, tab: gr.Tab, session: gr.State) -> None:
    """Create the tab. It is drawn when it is opened, with the moments of the last answer."""
    plot = gr.Plot(show_label=False, elem_classes="vp-plot", elem_id="vp-overview")
    gr.HTML(
        '<p class="vp-downloads">The colour of a bar shows the highest anomaly score of its video, from blue to red. '
        f"The score is {state.index.suite.anomaly_scope}. Click to play a moment in the tab Ask.</p>"
    )
    omitted = gr.Markdown()

    def draw(current: Session) -> tuple[Any, str]:
        return overview(state.index, current.moments, state.options.zone)

    tab.select(draw, [session], [plot, omitted], show_progress="hidden", api_visibility="private")
